//! The documented success body.

use serde::Serialize;

/// Exactly `{"success":true}`.
#[derive(Serialize)]
pub(super) struct Success {
    success: bool,
}

impl Success {
    /// The only value.
    pub(super) const TRUE: Self = Self { success: true };
}
