//! The cursor of the feed of changes.

use super::{CuRefNo, SeekPosition};

/// Names one database in one stretch of its life, in which change numbers only grow. Opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeHistory(pub [u8; Self::BYTES]);

impl ChangeHistory {
    const BYTES: usize = 8;
}

/// How far a reader has come: the sort key of the last change that it has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeCursor {
    pub history: ChangeHistory,
    /// The transaction that made the change.
    pub changed_in: i64,
    /// The pair, the tie-breaker of changes of one transaction. `None` before the first change of all.
    pub pair: Option<[CuRefNo; 2]>,
}

impl ChangeCursor {
    /// Before the first change.
    pub fn start(history: ChangeHistory) -> Self {
        Self { history, changed_in: 0, pair: None }
    }

    /// The references of the pair; empty texts, which stand before all references, at the start.
    pub fn pair(&self) -> [&str; 2] {
        self.pair.as_ref().map_or(["", ""], |pair| pair.each_ref().map(CuRefNo::as_str))
    }
}

/// In the place of the pair of a cursor at the start.
const NO_PAIR: [u8; 2 * CuRefNo::LENGTH] = [0; 2 * CuRefNo::LENGTH];

impl SeekPosition for ChangeCursor {
    const LIST: u8 = 2;

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.history.0.to_vec();
        bytes.extend_from_slice(&self.changed_in.to_be_bytes());
        match &self.pair {
            Some(pair) => bytes.extend(pair.iter().flat_map(|cu_ref_no| cu_ref_no.as_str().bytes())),
            None => bytes.extend_from_slice(&NO_PAIR),
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (history, bytes) = bytes.split_first_chunk()?;
        let (changed_in, pair) = bytes.split_first_chunk()?;
        let pair = if pair == NO_PAIR {
            None
        } else {
            let (low, high) = std::str::from_utf8(pair).ok()?.split_at_checked(CuRefNo::LENGTH)?;
            Some([CuRefNo::parse(low).ok()?, CuRefNo::parse(high).ok()?])
        };
        Some(Self { history: ChangeHistory(*history), changed_in: i64::from_be_bytes(*changed_in), pair })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CursorError, CursorKey};

    fn key() -> CursorKey {
        CursorKey::new(&[7; 32])
    }

    fn cursor(changed_in: i64) -> ChangeCursor {
        let pair = ["1cGIHvFoQDGLAbcA", "5CmsaVNgAQqRqoen"].map(|text| CuRefNo::parse(text).unwrap());
        ChangeCursor { history: ChangeHistory([9; 8]), changed_in, pair: Some(pair) }
    }

    #[test]
    fn a_cursor_round_trips() {
        for cursor in [cursor(5), cursor(i64::MAX), ChangeCursor::start(ChangeHistory([1; 8]))] {
            let text = key().sign(1, &cursor);
            assert_eq!(key().verify(1, &text.parse().unwrap()), Ok(cursor));
        }
    }

    #[test]
    fn is_of_no_other_list() {
        let text = key().sign(1, &cursor(5));
        assert_eq!(key().verify::<CuRefNo>(1, &text.parse().unwrap()), Err(CursorError));
        let of_list = key().sign(1, &CuRefNo::parse("5CmsaVNgAQqRqoen").unwrap());
        assert_eq!(key().verify::<ChangeCursor>(1, &of_list.parse().unwrap()), Err(CursorError));
    }
}
