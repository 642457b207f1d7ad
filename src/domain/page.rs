//! Keyset pagination: page sizes and cursors.

use std::ops::RangeInclusive;
use std::str::FromStr;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::CuRefNo;

/// The most items of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit(u16);

#[derive(Debug, thiserror::Error)]
#[error("must be a whole number from 1 to 500")]
pub struct PageLimitError;

impl PageLimit {
    pub const RANGE: RangeInclusive<u16> = 1..=500;

    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(32)
    }
}

impl FromStr for PageLimit {
    type Err = PageLimitError;

    fn from_str(text: &str) -> Result<Self, PageLimitError> {
        let number = text.parse().ok().filter(|number| Self::RANGE.contains(number));
        number.map(Self).ok_or(PageLimitError)
    }
}

/// The sort key of the last item of a page. Unlike an offset it stays correct when items are added.
pub trait SeekPosition: Sized {
    /// Which list it is of: the cursor of one is none of another.
    const LIST: u8;

    fn to_bytes(&self) -> Vec<u8>;

    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// In a list of matched customers, with the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// To the microsecond.
    pub matched_at: DateTime<Utc>,
    /// The tie-breaker for matches of the same microsecond.
    pub cu_ref_no: CuRefNo,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the \"nextCursor\" of an earlier page")]
pub struct CursorError;

/// The text of a cursor, which may be made up until [`CursorKey::verify`] has looked at it.
#[derive(Debug)]
pub struct SignedCursor(Vec<u8>);

impl FromStr for SignedCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        if bytes.len() > CursorKey::CODE_BYTES { Ok(Self(bytes)) } else { Err(CursorError) }
    }
}

impl SeekPosition for Cursor {
    const LIST: u8 = 0;

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.matched_at.timestamp_micros().to_be_bytes().to_vec();
        bytes.extend_from_slice(self.cu_ref_no.as_str().as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (microseconds, cu_ref_no) = bytes.split_first_chunk()?;
        let matched_at = DateTime::from_timestamp_micros(i64::from_be_bytes(*microseconds))?;
        Some(Self { matched_at, cu_ref_no: CuRefNo::from_bytes(cu_ref_no)? })
    }
}

/// In the list of customers.
impl SeekPosition for CuRefNo {
    const LIST: u8 = 1;

    fn to_bytes(&self) -> Vec<u8> {
        self.as_str().into()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::parse(std::str::from_utf8(bytes).ok()?).ok()
    }
}

/// Signs cursors: the position, and a code that authenticates it for one list of one organisation (HMAC-SHA-256, its first 128
/// bits). So a client cannot make up a place in a list, or try references.
pub struct CursorKey(Hmac<Sha256>);

impl CursorKey {
    const CODE_BYTES: usize = 16;

    pub fn new(secret: &[u8]) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        Self(Hmac::new_from_slice(secret).expect("a key"))
    }

    /// The text that a client gets.
    pub fn sign<P: SeekPosition>(&self, organisation_id: i64, position: &P) -> String {
        let mut bytes = position.to_bytes();
        let code = self.code::<P>(organisation_id, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&code[..Self::CODE_BYTES]);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    pub fn verify<P: SeekPosition>(
        &self,
        organisation_id: i64,
        cursor: &SignedCursor,
    ) -> Result<P, CursorError> {
        let verify = || {
            let (signed, code) = cursor.0.split_at_checked(cursor.0.len().checked_sub(Self::CODE_BYTES)?)?;
            self.code::<P>(organisation_id, signed).verify_truncated_left(code).ok()?;
            P::from_bytes(signed)
        };
        verify().ok_or(CursorError)
    }

    fn code<P: SeekPosition>(&self, organisation_id: i64, signed: &[u8]) -> Hmac<Sha256> {
        self.0
            .clone()
            .chain_update(organisation_id.to_be_bytes())
            .chain_update([P::LIST])
            .chain_update(signed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1", Some(1))]
    #[case("500", Some(500))]
    #[case("0", None)]
    #[case("501", None)]
    #[case("-1", None)]
    #[case("1.5", None)]
    #[case("99999999999999999999", None)]
    #[case("many", None)]
    fn limits(#[case] text: &str, #[case] expected: Option<u16>) {
        assert_eq!(text.parse().ok().map(PageLimit::get), expected);
    }

    const REFERENCE: &str = "5CmsaVNgAQqRqoen";

    fn key() -> CursorKey {
        CursorKey::new(&[7; 32])
    }

    fn verify(organisation_id: i64, text: &str) -> Result<Cursor, CursorError> {
        key().verify(organisation_id, &text.parse()?)
    }

    fn cursor(microseconds: i64) -> Cursor {
        let matched_at = DateTime::from_timestamp_micros(microseconds).unwrap();
        Cursor { matched_at, cu_ref_no: CuRefNo::parse(REFERENCE).unwrap() }
    }

    #[rstest]
    #[case(-1)]
    #[case(0)]
    #[case(1_736_525_981_675_999)]
    #[case(253_402_300_799_999_999)]
    fn a_cursor_round_trips(#[case] microseconds: i64) {
        let text = key().sign(1, &cursor(microseconds));
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
        assert_eq!(verify(1, &text), Ok(cursor(microseconds)));
    }

    proptest! {
        /// Each cursor has exactly one text, and any other text is none.
        #[test]
        fn a_changed_text_is_none(microseconds in 0..i64::MAX / 1000, place in 0..54_usize, other in "[A-Za-z0-9_-]") {
            let text = key().sign(1, &cursor(microseconds));
            let changed = format!("{}{other}{}", &text[..place], &text[place + 1..]);
            prop_assert_eq!(verify(1, &changed).is_ok(), changed == text);
        }

        #[test]
        fn a_text_that_was_made_up_is_none(text in "[A-Za-z0-9_-]{54}|[A-Za-z0-9_-]{32}|\\PC*") {
            prop_assert_eq!(verify(1, &text), Err(CursorError));
        }
    }

    #[rstest]
    #[case::cut_off(&|text: &str| text[..53].to_owned())]
    #[case::without_its_code(&|text: &str| text[..32].to_owned())]
    #[case::with_a_part_of_its_code(&|text: &str| text[..40].to_owned())]
    #[case::longer(&|text: &str| format!("{text}AAAA"))]
    #[case::padded(&|text: &str| format!("{text}=="))]
    fn another_length_is_none(#[case] change: &dyn Fn(&str) -> String) {
        let text = key().sign(1, &cursor(5));
        assert_eq!(text.len(), 54);
        assert_eq!(verify(1, &change(&text)), Err(CursorError));
    }

    #[test]
    fn is_of_one_key_one_organisation_and_one_list() {
        let text = key().sign(1, &cursor(5));
        assert_eq!(verify(2, &text), Err(CursorError));
        assert_eq!(CursorKey::new(&[8; 32]).verify::<Cursor>(1, &text.parse().unwrap()), Err(CursorError));
        assert_eq!(key().verify::<CuRefNo>(1, &text.parse().unwrap()), Err(CursorError));
        let reference = key().sign(1, &CuRefNo::parse(REFERENCE).unwrap());
        assert_eq!(
            key().verify(1, &reference.parse().unwrap()),
            CuRefNo::parse(REFERENCE).map_err(|_| CursorError)
        );
        assert_eq!(verify(1, &reference), Err(CursorError));
    }
}
