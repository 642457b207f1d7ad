//! The notice of a relation, which both customers see (contract §1).

use serde::Deserialize;

/// A notice in its normal form: outer white space is trimmed, `\r\n` and `\r` become `\n`, inner text is unchanged.
///
/// The empty text clears the stored notice. A request without a notice keeps it: that is `None` of `Option<Notice>`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Notice(String);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    #[error("must have at most 10,000 characters")]
    TooLong,
    /// Postgres text cannot hold U+0000.
    #[error("must not contain a NUL character")]
    Nul,
}

impl Notice {
    /// In the normal form, in Unicode characters.
    pub const MAX_CHARACTERS: usize = 10_000;

    pub fn parse(text: &str) -> Result<Self, NoticeError> {
        if text.contains('\0') {
            return Err(NoticeError::Nul);
        }
        let text = text.trim();
        let text =
            if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text.into() };
        if text.chars().count() > Self::MAX_CHARACTERS {
            return Err(NoticeError::TooLong);
        }
        Ok(Self(text))
    }
}

super::text_value!(Notice, NoticeError);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::as_it_is("Contact obtained via the website.", "Contact obtained via the website.")]
    #[case::outer_white_space(" \r\n\t a b \u{3000}\n", "a b")]
    #[case::line_ends("a\r\nb\rc\nd\r\r\ne", "a\nb\nc\nd\n\ne")]
    #[case::inner_text("a  \t b\u{200b}<script>", "a  \t b\u{200b}<script>")]
    #[case::empty("", "")]
    #[case::blank(" \r\n ", "")]
    fn normalises(#[case] text: &str, #[case] normal: &str) {
        assert_eq!(Notice::parse(text).unwrap().as_str(), normal);
    }

    proptest! {
        /// The normal form has the same lines, no carriage returns, no outer white space, and is its own normal form.
        #[test]
        fn normalises_any_text(text in "[a \\r\\n\\t\\x00\\u{a0}\\u{200b}é😀]{0,24}") {
            match Notice::parse(&text) {
                Err(error) => {
                    prop_assert_eq!(error, NoticeError::Nul);
                    prop_assert!(text.contains('\0'));
                }
                Ok(notice) => {
                    let normal = notice.as_str();
                    prop_assert_eq!(normal, Regex::new("\r\n?").unwrap().replace_all(text.trim(), "\n"));
                    prop_assert_eq!(normal.trim(), normal);
                    prop_assert_eq!(Notice::parse(normal), Ok(notice.clone()));
                }
            }
        }

        /// The limit counts characters of the normal form, not bytes, and not the trimmed white space.
        #[test]
        fn is_limited_in_its_normal_form(character in "[^\\s\\x00]", over in 0..3_usize, around in "[ \\r\\n]{0,9}") {
            let text = character.repeat(Notice::MAX_CHARACTERS - 1 + over);
            prop_assert_eq!(Notice::parse(&format!("{around}{text}{around}")).is_ok(), over < 2);
        }
    }

    #[test]
    fn counts_characters_of_the_normal_form() {
        let longest = "😀".repeat(Notice::MAX_CHARACTERS);
        assert_eq!(Notice::parse(&format!(" {longest}\r\n")).unwrap().as_str(), longest);
        assert_eq!(Notice::parse(&format!("{longest}x")), Err(NoticeError::TooLong));
        let lines = "a\r\n".repeat(Notice::MAX_CHARACTERS / 2);
        assert!(Notice::parse(&lines).is_ok());
    }

    #[test]
    fn rejects_nul_anywhere() {
        assert_eq!(Notice::parse("a\0b"), Err(NoticeError::Nul));
        assert_eq!(Notice::parse("\0"), Err(NoticeError::Nul));
    }
}
