//! Customer reference numbers (contract §5).

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

static FORMAT: LazyLock<Regex> = LazyLock::new(|| super::pattern(CuRefNo::PATTERN));

/// A customer's public reference: 16 characters `[A-Za-z0-9]`, case-sensitive, unique within its organisation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct CuRefNo(String);

#[derive(Debug, thiserror::Error)]
#[error("must be exactly 16 letters or digits (A-Z, a-z, 0-9)")]
pub struct CuRefNoError;

impl CuRefNo {
    pub const PATTERN: &str = "^[A-Za-z0-9]{16}$";
    pub const LENGTH: usize = 16;

    /// Does not trim: white space around a reference is an error.
    pub fn parse(text: impl Into<String>) -> Result<Self, CuRefNoError> {
        let text = text.into();
        if FORMAT.is_match(&text) { Ok(Self(text)) } else { Err(CuRefNoError) }
    }

    /// A random reference. There are 62¹⁶, so a collision is left to the unique constraint.
    pub fn generate() -> Self {
        Self(super::random_alphanumeric(Self::LENGTH))
    }
}

impl fmt::Display for CuRefNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

super::text_value!(CuRefNo, CuRefNoError);

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1cGIHvFoQDGLAbcA")]
    #[case("0000000000000000")]
    fn accepts(#[case] text: &str) {
        assert_eq!(CuRefNo::parse(text).unwrap().as_str(), text);
    }

    #[rstest]
    #[case::empty("")]
    #[case::fifteen("1cGIHvFoQDGLAbc")]
    #[case::seventeen("1cGIHvFoQDGLAbcAA")]
    #[case::space_around(" 1cGIHvFoQDGLAbc")]
    #[case::line_feed("1cGIHvFoQDGLAbcA\n")]
    #[case::not_ascii("1cGIHvFoQDGLAbcé")]
    #[case::digits_of_another_script("1cGIHvFoQDGLAbc٣")]
    #[case::nul("1cGIHvFoQDGLAbc\0")]
    fn rejects(#[case] text: &str) {
        assert!(CuRefNo::parse(text).is_err());
    }

    #[test]
    fn generates_what_it_accepts() {
        assert!(CuRefNo::parse(CuRefNo::generate().as_str()).is_ok());
    }
}
