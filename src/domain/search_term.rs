//! The filter of a list.

use super::Email;

/// Part of a name, a company or an e-mail address. Case and diacritics stay: the database folds them on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchTerm(String);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchTermError {
    #[error("must have at most 254 characters")]
    TooLong,
    /// No searched field contains one.
    #[error("must not contain control characters")]
    ControlCharacter,
}

impl SearchTerm {
    /// As long as the longest searched field, an e-mail address.
    pub const MAX_CHARACTERS: usize = Email::MAX_BYTES;

    /// Trims the text.
    pub fn parse(text: &str) -> Result<Self, SearchTermError> {
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err(SearchTermError::ControlCharacter);
        }
        if text.chars().count() > Self::MAX_CHARACTERS {
            return Err(SearchTermError::TooLong);
        }
        Ok(Self(text.into()))
    }
}

super::text_value!(SearchTerm, SearchTermError);

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(" Novák ", Ok("Novák"))]
    #[case("50%_\\", Ok("50%_\\"))]
    #[case("a\0b", Err(SearchTermError::ControlCharacter))]
    #[case("a\nb", Err(SearchTermError::ControlCharacter))]
    fn trims_and_checks(#[case] text: &str, #[case] expected: Result<&str, SearchTermError>) {
        assert_eq!(SearchTerm::parse(text).as_ref().map(SearchTerm::as_str), expected.as_ref().copied());
    }

    #[test]
    fn counts_characters() {
        assert!(SearchTerm::parse(&"é".repeat(254)).is_ok());
        assert_eq!(SearchTerm::parse(&"é".repeat(255)), Err(SearchTermError::TooLong));
    }
}
