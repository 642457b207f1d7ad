//! Reads with their answers, made by SQL beforehand (`sql/requests.sql`): nothing that is answered is believed.

use std::fs;
use std::io;
use std::path::Path;

/// A GET and what its answer must hold.
pub struct Read {
    /// Path and query.
    pub target: String,
    /// The reference of the first item, or of the customer whose detail it is.
    first: String,
    items: usize,
    /// `itemCount`; none in a detail.
    count: Option<u64>,
}

impl Read {
    /// One line each: target, first, items, count (empty: none), separated by tabs.
    pub fn load(file: &Path) -> io::Result<Vec<Self>> {
        let reads: Option<Vec<_>> = fs::read_to_string(file)?.lines().map(Self::parse).collect();
        reads
            .filter(|reads| !reads.is_empty())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a file of reads"))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let (target, first) = (next()?.to_owned(), next()?.to_owned());
        let items = next()?.parse().ok()?;
        let count = next()?;
        let count = if count.is_empty() { None } else { Some(count.parse().ok()?) };
        Some(Self { target, first, items, count })
    }

    /// Why the answer is wrong, if it is.
    ///
    /// A count that says that it is not exact may be lower, and then the page may be shorter, but not without an item where
    /// there are some. Texts of the data contain none of the names that are looked for.
    pub fn fault(&self, body: &str) -> Option<&'static str> {
        let mut references = body.match_indices(r#""cuRefNo":""#).map(|(at, name)| &body[at + name.len()..]);
        let first = references.next().unwrap_or_default();
        let items = usize::from(!first.is_empty()) + references.count();
        let exact = !body.contains(r#""itemCountExact":false"#);
        if !first.starts_with(&self.first) {
            return Some("another first item");
        }
        if items != self.items && (exact || items > self.items) {
            return Some("another number of items");
        }
        let count = body.split_once(r#""itemCount":"#).map(|(_, rest)| digits(rest));
        match (count, self.count) {
            (None, None) => None,
            (Some(count), Some(expected)) if count == expected || (!exact && count < expected) => None,
            _ => Some("another itemCount"),
        }
    }
}

fn digits(text: &str) -> u64 {
    text.bytes().take_while(u8::is_ascii_digit).fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_differs_is_wrong() -> Result<(), &'static str> {
        let read = Read::parse("/list?a=b\tsecond\t2\t7").ok_or("a line")?;
        let answer = |items: &[&str], rest: &str| {
            let items: Vec<_> =
                items.iter().map(|item| format!(r#"{{"cuRefNo":"{item}","email":null}}"#)).collect();
            format!(r#"{{"items":[{}],{rest}}}"#, items.join(","))
        };
        assert_eq!(read.fault(&answer(&["second", "first"], r#""itemCount":7"#)), None);
        assert_eq!(
            read.fault(&answer(&["second", "first"], r#""itemCount":6,"itemCountExact":false"#)),
            None
        );
        for wrong in [
            answer(&["first", "second"], r#""itemCount":7"#),
            answer(&["second"], r#""itemCount":7"#),
            answer(&[], r#""itemCount":0,"itemCountExact":false"#),
            answer(&["second", "first", "third"], r#""itemCount":7"#),
            answer(&["second", "first"], r#""itemCount":70"#),
            answer(&["second", "first"], r#""itemCount":6"#),
            answer(&["second", "first"], r#""itemCount":8,"itemCountExact":false"#),
            answer(&["second", "first"], r#""nextCursor":null"#),
        ] {
            assert!(read.fault(&wrong).is_some(), "{wrong}");
        }
        let detail = Read::parse("/detail\tme\t1\t").ok_or("a line")?;
        assert_eq!(detail.fault(r#"{"loggedIn":true,"cuRefNo":"me"}"#), None);
        assert!(detail.fault(r#"{"loggedIn":true,"cuRefNo":"you"}"#).is_some());
        Ok(())
    }
}
