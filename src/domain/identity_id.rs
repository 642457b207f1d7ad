//! Identity ids, the session tokens of logged-in customers (contract §2).

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use secrecy::{ExposeSecret, SecretString};

use super::SecretHash;

static FORMAT: LazyLock<Regex> = LazyLock::new(|| super::pattern(IdentityId::PATTERN));

/// A secret that identifies a customer until it expires or is revoked. Only [`expose`](Self::expose) gives its text; `Debug`
/// prints none of it.
pub struct IdentityId(SecretString);

#[derive(Debug, thiserror::Error)]
#[error("must be exactly 32 letters or digits (A-Z, a-z, 0-9)")]
pub struct IdentityIdError;

impl IdentityId {
    pub const PATTERN: &str = "^[A-Za-z0-9]{32}$";
    pub const LENGTH: usize = 32;

    pub fn parse(text: &str) -> Result<Self, IdentityIdError> {
        if FORMAT.is_match(text) { Ok(Self(text.into())) } else { Err(IdentityIdError) }
    }

    /// A random id, from a cryptographically secure generator.
    pub fn generate() -> Self {
        Self(super::random_alphanumeric(Self::LENGTH).into())
    }

    /// The form in which an id is stored and looked up.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }

    /// The whole id, for the response to a login.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityId(…)")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty("")]
    #[case::of_31("0123456789abcdefghijABCDEFGHIJK")]
    #[case::of_33("0123456789abcdefghijABCDEFGHIJKLM")]
    #[case::hyphen("0123456789abcdefghijABCDEFGHIJ-L")]
    #[case::not_ascii("0123456789abcdefghijABCDEFGHIJKé")]
    #[case::line_feed("0123456789abcdefghijABCDEFGHIJKL\n")]
    fn rejects(#[case] text: &str) {
        assert!(IdentityId::parse(text).is_err());
    }

    #[test]
    fn generates_what_it_accepts() {
        let id = IdentityId::generate();
        assert_eq!(IdentityId::parse(id.expose()).unwrap().hash().as_bytes(), id.hash().as_bytes());
        assert_ne!(id.hash().as_bytes(), IdentityId::generate().hash().as_bytes());
    }

    #[test]
    fn is_never_printed() {
        assert_eq!(format!("{:?}", IdentityId::generate()), "IdentityId(…)");
    }
}
