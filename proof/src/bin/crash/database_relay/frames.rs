//! What the relay understands of the protocol of Postgres.

use customer_match_proof::customers::DOMAIN;

/// Length of a customer's reference.
const REFERENCE: usize = 16;
/// Type and length of a message.
const HEADER: usize = 5;

/// Whether a segment to Postgres has a write in it: an e-mail address of the run, or two references. Reads have one.
pub fn carries_write(segment: &[u8]) -> bool {
    let words = segment.split(|byte| !byte.is_ascii_alphanumeric());
    words.filter(|word| word.len() == REFERENCE).count() >= 2
        || segment.windows(DOMAIN.len()).any(|window| window == DOMAIN.as_bytes())
}

/// Finds the ends of messages from Postgres in a connection without TLS.
#[derive(Default)]
pub struct Frames {
    header: Vec<u8>,
    /// Bytes of the present message that are still to come.
    rest: usize,
}

impl Frames {
    /// Whether Postgres says in this segment that it is ready and in no transaction: what came before is committed.
    pub fn end_transaction(&mut self, mut segment: &[u8]) -> bool {
        let mut ends = false;
        while !segment.is_empty() {
            if self.rest == 0 {
                let taken = segment.len().min(HEADER - self.header.len());
                self.header.extend_from_slice(&segment[..taken]);
                segment = &segment[taken..];
                if let [_, a, b, c, d] = self.header[..] {
                    // The length counts itself.
                    let length = u32::from_be_bytes([a, b, c, d]).saturating_sub(4);
                    self.rest = usize::try_from(length).unwrap_or(usize::MAX);
                    if self.rest == 0 {
                        self.header.clear();
                    }
                }
                continue;
            }
            let taken = segment.len().min(self.rest);
            self.rest -= taken;
            if self.rest == 0 {
                // ReadyForQuery, idle.
                ends |= self.header[0] == b'Z' && segment[taken - 1] == b'I';
                self.header.clear();
            }
            segment = &segment[taken..];
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_names_an_e_mail_address_or_two_customers() {
        let reference = |text: &str| [&[0, 0, 0, 16], text.as_bytes()].concat();
        let (one, other) = (reference("1cGIHvFoQDGLAbcA"), reference("5CmsaVNgAQqRqoen"));
        assert!(!carries_write(&one));
        assert!(carries_write(&[one, other].concat()));
        assert!(carries_write(format!("proof.é.run.5@{DOMAIN}").as_bytes()));
    }

    #[test]
    fn the_end_of_a_transaction_is_found_in_any_division() {
        let answer =
            [&b"1\0\0\0\x04"[..], b"D\0\0\0\x08ZIZI", b"Z\0\0\0\x05T", b"C\0\0\0\x06ab", b"Z\0\0\0\x05I"]
                .concat();
        for size in 1..=answer.len() {
            let mut frames = Frames::default();
            let ends: Vec<_> = answer.chunks(size).map(|chunk| frames.end_transaction(chunk)).collect();
            assert_eq!(ends.iter().filter(|ends| **ends).count(), 1, "{size}");
            assert!(ends.last().unwrap(), "{size}");
        }
    }
}
