//! What somebody searches for.

use std::str::FromStr;

use super::Email;

/// A part of a name, a company or an address. The database folds case and diacritics of both sides, so they are left
/// here as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchTerm(String);

/// Why a text cannot be searched for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchTermError {
    /// More than [`SearchTerm::MAX_CHARACTERS`].
    #[error("must have at most 254 characters")]
    TooLong,
    /// A line break, a NUL or another control character: no field that is searched holds one.
    #[error("must not contain control characters")]
    ControlCharacter,
}

impl SearchTerm {
    /// The longest term: the longest text that is searched is an address.
    pub const MAX_CHARACTERS: usize = Email::MAX_OCTETS;

    /// Trims and checks.
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

    /// The trimmed text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SearchTerm {
    type Err = SearchTermError;

    fn from_str(text: &str) -> Result<Self, SearchTermError> {
        Self::parse(text)
    }
}

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
