//! The text fields of a customer's profile: names, company, phone.

use serde::{Deserialize, Serialize};

/// One line of a profile: trimmed, not empty, at most [`ProfileText::MAX_CHARACTERS`], without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ProfileText(String);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileTextError {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most 200 characters")]
    TooLong,
    /// Line breaks and NUL included.
    #[error("must not contain control characters")]
    ControlCharacter,
}

impl ProfileText {
    pub const MAX_CHARACTERS: usize = 200;

    /// Trims the text.
    pub fn parse(text: &str) -> Result<Self, ProfileTextError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ProfileTextError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(ProfileTextError::ControlCharacter);
        }
        if text.chars().count() > Self::MAX_CHARACTERS {
            return Err(ProfileTextError::TooLong);
        }
        Ok(Self(text.into()))
    }
}

super::text_value!(ProfileText, ProfileTextError);

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(" Jan ", Ok("Jan"))]
    #[case("Žluťoučký kůň", Ok("Žluťoučký kůň"))]
    #[case("", Err(ProfileTextError::Empty))]
    #[case(" \u{a0}", Err(ProfileTextError::Empty))]
    #[case("a\nb", Err(ProfileTextError::ControlCharacter))]
    #[case("a\0b", Err(ProfileTextError::ControlCharacter))]
    fn trims_and_checks(#[case] text: &str, #[case] expected: Result<&str, ProfileTextError>) {
        assert_eq!(ProfileText::parse(text).as_ref().map(ProfileText::as_str), expected.as_ref().copied());
    }

    #[test]
    fn counts_characters() {
        assert!(ProfileText::parse(&"é".repeat(200)).is_ok());
        assert_eq!(ProfileText::parse(&"é".repeat(201)), Err(ProfileTextError::TooLong));
    }
}
