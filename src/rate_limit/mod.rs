//! Rate limiting: at most a limit of calls within any [`WINDOW`], by one server or by several together.
//!
//! [`sliding_window`] counts the calls of one server, [`client_windows`] those of each client. [`quota_lease`] computes how servers
//! divide a limit among them. Only admitted calls count, so a client that waits for the time it is told is admitted. The room is
//! pure: it takes the time as an argument and knows neither keys nor the database, so that property tests cover it.

mod client_windows;
mod quota_lease;
mod sliding_window;

pub(crate) use client_windows::ClientWindows;
pub(crate) use quota_lease::{QuotaLease, quota};
pub(crate) use sliding_window::{SlidingWindow, WINDOW};

use std::time::Duration;

/// Whether a call is admitted, and what a client may be told about its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Calls within any [`WINDOW`].
    pub limit: u32,
    /// Calls that would still be admitted now.
    pub remaining: u32,
    /// Time until `remaining` grows, because a counted call leaves the window.
    pub reset: Duration,
    pub admitted: bool,
}
