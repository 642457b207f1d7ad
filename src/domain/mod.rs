//! The values of the API contract as types: each is parsed once, where input arrives, and is valid ever after.
//!
//! A rule about what a key, a reference number, an e-mail address or a notice may be is changed here and nowhere else. The
//! types have private fields, and know neither HTTP nor SQL.

/// What a value that is one text has beside its `parse`: the text, and conversions for serde and for parameters.
macro_rules! text_value {
    ($name:ident, $error:ident) => {
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                Self::parse(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }
    };
}
use text_value;

mod api_key;
mod change_cursor;
mod change_wait;
mod cu_ref_no;
mod customer;
mod email;
mod host_ip;
mod identity_id;
mod notice;
mod origin_pattern;
mod page;
mod precondition;
mod profile_text;
mod relation;
mod scope;
mod search_term;
mod secret_hash;
mod timestamp;

pub use api_key::{ApiKey, EXPIRY_WARNING, KeyKind, KeyStatus};
pub use change_cursor::{ChangeCursor, ChangeHistory};
pub use change_wait::ChangeWait;
pub use cu_ref_no::{CuRefNo, CuRefNoError};
pub use customer::{Customer, Profile, ProfileChanges, ProfileUpdate, Registered, Registration, Updated};
pub use email::Email;
pub use host_ip::HostIp;
pub use identity_id::IdentityId;
pub use notice::Notice;
pub use origin_pattern::{OriginPattern, is_origin};
pub use page::{Cursor, CursorError, CursorKey, PageLimit, SeekPosition, SignedCursor};
pub use precondition::{Precondition, Versions};
pub use profile_text::ProfileText;
pub use relation::{
    Change, Match, Matched, MatchedCustomer, NamedCustomer, Relation, RelationState, Role, Unmatch, Unmatched,
};
pub use scope::{Scope, Scopes};
pub use search_term::SearchTerm;
pub use secret_hash::SecretHash;
pub use timestamp::Timestamp;

use rand::distr::{Alphanumeric, SampleString};
use regex::Regex;

/// `length` characters of `[A-Za-z0-9]` from a cryptographically secure generator.
fn random_alphanumeric(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

fn pattern(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "constant patterns that every test compiles")]
    Regex::new(text).expect("the pattern is valid")
}
