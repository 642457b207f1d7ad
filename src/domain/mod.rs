//! The values of the API contract as types: each is parsed once, where input arrives, and is valid ever after.
//!
//! A rule about what a key, a reference number, an e-mail address or a notice may be is changed here and nowhere else. The
//! types have private fields, and know neither HTTP nor SQL.

mod api_key;
mod cu_ref_no;
mod customer;
mod email;
mod identity_id;
mod notice;
mod page;
mod profile_text;
mod relation;
mod search_term;
mod secret_hash;
mod timestamp;

pub use api_key::{ApiKey, CUSTOMER_MATCH_SCOPE, KeyKind, KeyStatus};
pub use cu_ref_no::{CuRefNo, CuRefNoError};
pub use customer::{Customer, Profile, Registered, Registration};
pub use email::Email;
pub use identity_id::IdentityId;
pub use notice::Notice;
pub use page::{Cursor, CursorError, PageLimit};
pub use profile_text::ProfileText;
pub use relation::{Change, Match, Matched, NamedCustomer, Relation, Unmatch};
pub use search_term::SearchTerm;
pub use secret_hash::SecretHash;
pub use timestamp::Timestamp;

use rand::distr::{Alphanumeric, SampleString};

/// `length` characters of `[A-Za-z0-9]` from a cryptographically secure generator.
fn random_alphanumeric(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}
