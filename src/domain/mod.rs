//! What the contract's words mean: each type is parsed once, at the door, and cannot hold anything else afterwards.
//! Nothing here knows of HTTP or SQL.

mod api_key;
mod cu_ref_no;
mod email;
mod notice;
mod profile_text;

pub use api_key::{ApiKey, ApiKeyFormatError, KeyHash, KeyKind, KeyKindError};
pub use cu_ref_no::{CuRefNo, CuRefNoError};
pub use email::{Email, EmailError};
pub use notice::{Notice, NoticeError};
pub use profile_text::{ProfileText, ProfileTextError};

use rand::distr::{Alphanumeric, SampleString};

/// `length` characters of `[A-Za-z0-9]` from the thread's cryptographically secure generator.
fn random_alphanumeric(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}
