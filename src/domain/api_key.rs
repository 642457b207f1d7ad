//! API keys: their format, kinds and statuses (contract §3).

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use chrono::{DateTime, TimeDelta, Utc};
use regex::Regex;
use secrecy::{ExposeSecret, SecretString};

use super::SecretHash;

/// How long before the end of a key its users and its operator are warned.
pub const EXPIRY_WARNING: TimeDelta = TimeDelta::days(14);

static FORMAT: LazyLock<Regex> = LazyLock::new(|| super::pattern(ApiKey::PATTERN));

/// A key in the documented format. Only [`expose`](Self::expose) gives its text; `Debug` prints the mask.
pub struct ApiKey(SecretString);

#[derive(Debug, thiserror::Error)]
#[error("must be PROD, DEV_ or ROOT followed by 28 letters or digits")]
pub struct ApiKeyFormatError;

impl ApiKey {
    pub const PATTERN: &str = "^(PROD|DEV_|ROOT)[A-Za-z0-9]{28}$";
    /// The key in the examples of the documentation. Only demo mode accepts it.
    pub const SAMPLE: &str = "PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE";

    pub fn parse(text: &str) -> Result<Self, ApiKeyFormatError> {
        if FORMAT.is_match(text) { Ok(Self(text.into())) } else { Err(ApiKeyFormatError) }
    }

    /// A random key, from a cryptographically secure generator.
    pub fn generate(kind: KeyKind) -> Self {
        Self(format!("{}{}", kind.prefix(), super::random_alphanumeric(28)).into())
    }

    /// The form in which a key is stored and looked up.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }

    pub fn kind(&self) -> KeyKind {
        match &self.0.expose_secret()[..4] {
            "PROD" => KeyKind::Prod,
            "DEV_" => KeyKind::Dev,
            _ => KeyKind::Root,
        }
    }

    /// The prefix and the last four characters, for lists and logs.
    pub fn mask(&self) -> String {
        let key = self.0.expose_secret();
        format!("{}…{}", &key[..4], &key[28..])
    }

    pub fn is_sample(&self) -> bool {
        self.0.expose_secret() == Self::SAMPLE
    }

    /// The whole key, to be shown once, when it is created.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.mask())
    }
}

/// The documented kinds, each with its default limit (contract §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    Prod,
    Dev,
    /// Has no limit.
    Root,
}

impl KeyKind {
    pub const ALL: [Self; 3] = [Self::Prod, Self::Dev, Self::Root];

    /// The first four characters of a key.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Prod => "PROD",
            Self::Dev => "DEV_",
            Self::Root => "ROOT",
        }
    }

    /// The name in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prod => "prod",
            Self::Dev => "dev",
            Self::Root => "root",
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("must be prod, dev or root")]
pub struct KeyKindError;

impl FromStr for KeyKind {
    type Err = KeyKindError;

    fn from_str(text: &str) -> Result<Self, KeyKindError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(KeyKindError)
    }
}

/// Whether a registered key authenticates requests. Each status but [`Active`](Self::Active) has a documented error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    Revoked,
    Inactive,
    Expired,
    Active,
}

impl KeyStatus {
    /// Checks in the documented order (contract §3), which decides the error of a key that is several of these.
    pub fn of(
        deleted_at: Option<DateTime<Utc>>,
        active: bool,
        expires_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Self {
        if deleted_at.is_some() {
            Self::Revoked
        } else if !active {
            Self::Inactive
        } else if expires_at.is_some_and(|at| at <= now) {
            Self::Expired
        } else {
            Self::Active
        }
    }

    /// The name in `key list`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Inactive => "inactive",
            Self::Expired => "expired",
            Self::Active => "active",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::sample(ApiKey::SAMPLE)]
    #[case::dev("DEV_0123456789abcdefghijABCDEFGH")]
    #[case::root("ROOT0123456789abcdefghijABCDEFGH")]
    fn accepts(#[case] text: &str) {
        assert_eq!(ApiKey::parse(text).unwrap().expose(), text);
    }

    #[rstest]
    #[case::empty("")]
    #[case::words("YOUR_API_KEY")]
    #[case::too_short("PROD0123456789abcdefghijABCDEFG")]
    #[case::too_long("PROD0123456789abcdefghijABCDEFGHI")]
    #[case::unknown_prefix("TEST0123456789abcdefghijABCDEFGH")]
    #[case::lower_case_prefix("prod0123456789abcdefghijABCDEFGH")]
    #[case::hyphen("PROD0123456789abcdefghijABCDEF-H")]
    #[case::not_ascii("PROD0123456789abcdefghijABCDEFGé")]
    #[case::line_feed_at_the_end("PROD0123456789abcdefghijABCDEFG\n")]
    #[case::line_feed_after("PROD0123456789abcdefghijABCDEFGH\n")]
    fn rejects(#[case] text: &str) {
        assert!(ApiKey::parse(text).is_err());
    }

    #[rstest]
    #[case(KeyKind::Prod)]
    #[case(KeyKind::Dev)]
    #[case(KeyKind::Root)]
    fn generates_what_it_accepts(#[case] kind: KeyKind) {
        let key = ApiKey::generate(kind);
        assert_eq!(ApiKey::parse(key.expose()).unwrap().kind(), kind);
        assert_ne!(key.hash().as_bytes(), ApiKey::generate(kind).hash().as_bytes());
    }

    proptest! {
        /// Against the documented format, implemented without a regular expression, for keys and near misses.
        #[test]
        fn accepts_only_the_documented_format(
            prefix in "PROD|DEV_|ROOT|prod|[A-Z_]{4}",
            rest in prop_oneof![3 => "[A-Za-z0-9]{28}", 1 => "[A-Za-z0-9]{26,30}", 1 => "[A-Za-z0-9]{27}\\PC", 1 => "\\PC*"],
        ) {
            let text = prefix.clone() + &rest;
            let documented = ["PROD", "DEV_", "ROOT"].contains(&prefix.as_str())
                && rest.len() == 28
                && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let key = ApiKey::parse(&text);
            prop_assert_eq!(key.is_ok(), documented);
            if let Ok(key) = key {
                prop_assert_eq!(key.kind().prefix(), prefix);
                prop_assert_eq!(key.expose(), &text);
                for shown in [key.mask(), format!("{key:?}")] {
                    prop_assert!(!shown.contains(&text[4..12]) && !shown.contains(&text[20..28]), "{shown}");
                }
            }
        }
    }

    #[test]
    fn never_prints_the_whole_key() {
        let key = ApiKey::parse(ApiKey::SAMPLE).unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(PROD…XuOE)");
    }

    #[test]
    fn hashes_by_sha_256() {
        let hex: String = ApiKey::parse(ApiKey::SAMPLE)
            .unwrap()
            .hash()
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // printf PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE | sha256sum
        insta::assert_snapshot!(hex, @"cc70e0de4aa483c46aaea019c97fcd599451d1572f8fac9ee795b93f6a169bff");
    }
}
