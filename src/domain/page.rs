//! Keyset pagination: page sizes and cursors.

use std::ops::RangeInclusive;
use std::str::FromStr;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use chrono::{DateTime, Utc};

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

/// The sort key of the last item of a page, in a list of matched customers with the newest first.
///
/// Clients treat it as opaque. It reveals only what the item shows: the time of the match, to the microsecond, and the
/// reference number. Unlike an offset it stays correct when relations are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub matched_at: DateTime<Utc>,
    /// The tie-breaker for matches of the same microsecond.
    pub cu_ref_no: CuRefNo,
}

#[derive(Debug, thiserror::Error)]
#[error("must be the \"nextCursor\" of an earlier page")]
pub struct CursorError;

impl Cursor {
    /// 1970 to 9999, which Postgres can store.
    const MICROSECONDS: RangeInclusive<i64> = 0..=253_402_300_799_999_999;

    /// The cursor of the page that begins after this item.
    pub fn after(matched_at: DateTime<Utc>, cu_ref_no: &str) -> String {
        let mut bytes = matched_at.timestamp_micros().to_be_bytes().to_vec();
        bytes.extend_from_slice(cu_ref_no.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let decode = || {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
            let (microseconds, cu_ref_no) = bytes.split_first_chunk()?;
            let microseconds = i64::from_be_bytes(*microseconds);
            let cu_ref_no = CuRefNo::parse(std::str::from_utf8(cu_ref_no).ok()?).ok()?;
            let in_range = Self::MICROSECONDS.contains(&microseconds);
            let matched_at = in_range.then(|| DateTime::from_timestamp_micros(microseconds))??;
            Some(Self { matched_at, cu_ref_no })
        };
        decode().ok_or(CursorError)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
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

    fn cursor(microseconds: i64) -> String {
        Cursor::after(DateTime::from_timestamp_micros(microseconds).unwrap(), REFERENCE)
    }

    #[rstest]
    #[case(0)]
    #[case(1_736_525_981_675_999)]
    #[case(253_402_300_799_999_999)]
    fn a_cursor_round_trips(#[case] microseconds: i64) {
        let text = cursor(microseconds);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
        let cursor: Cursor = text.parse().unwrap();
        assert_eq!(
            (cursor.matched_at.timestamp_micros(), cursor.cu_ref_no.as_str()),
            (microseconds, REFERENCE)
        );
    }

    proptest! {
        #[test]
        fn every_cursor_round_trips(
            microseconds in Cursor::MICROSECONDS,
            nanoseconds in 0..1000_i64,
            reference in "[A-Za-z0-9]{16}",
        ) {
            let at = DateTime::from_timestamp_micros(microseconds).unwrap();
            let cursor: Cursor = Cursor::after(at + TimeDelta::nanoseconds(nanoseconds), &reference).parse().unwrap();
            prop_assert_eq!((cursor.matched_at, cursor.cu_ref_no.as_str()), (at, reference.as_str()));
        }

        /// Each cursor has exactly one text.
        #[test]
        fn accepted_texts_round_trip(
            text in prop_oneof![
                "[A-Za-z0-9_-]{32}",
                "AA[A-D][A-Za-z0-9_-]{8}[A-Za-z0-9_-]{21}",
                (any::<[u8; 8]>(), "[A-Za-z0-9]{15,17}").prop_map(|(time, reference)| {
                    BASE64_URL_SAFE_NO_PAD.encode([&time[..], reference.as_bytes()].concat())
                }),
                "\\PC*",
            ],
        ) {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(Cursor::after(cursor.matched_at, cursor.cu_ref_no.as_str()), text);
                prop_assert!(Cursor::MICROSECONDS.contains(&cursor.matched_at.timestamp_micros()));
            }
        }
    }

    #[rstest]
    #[case::empty("".into())]
    #[case::words("next page".into())]
    #[case::cut_off(cursor(5)[..31].into())]
    #[case::longer(cursor(5) + "AAAA")]
    #[case::padded(cursor(5) + "=")]
    #[case::before_1970(cursor(-1))]
    #[case::after_9999(cursor(253_402_300_800_000_000))]
    #[case::no_reference(BASE64_URL_SAFE_NO_PAD.encode([0; 24]))]
    fn rejects_other_texts(#[case] text: String) {
        assert!(text.parse::<Cursor>().is_err());
    }
}
