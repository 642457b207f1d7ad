//! How many calls are let in: never more than a limit within any [`WINDOW`].
//!
//! Only calls that were let in count, so whoever waits as long as it is told gets in. Nothing here knows what is counted,
//! where from, or what time it is.

mod quota_lease;
mod sliding_window;

pub use quota_lease::{QuotaLease, quota};
pub use sliding_window::{SlidingWindow, WINDOW};

use std::time::Duration;

/// What a caller is told about its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Calls within any [`WINDOW`].
    pub limit: u32,
    /// How many more would be let in now.
    pub remaining: u32,
    /// Until a call that counts leaves the window and there is room for one more than now.
    pub reset: Duration,
    /// Whether this call was let in.
    pub admitted: bool,
}
