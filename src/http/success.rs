//! The documented success body.

use serde::Serialize;
use utoipa::ToSchema;

/// Exactly `{"success":true}`.
#[derive(Serialize, ToSchema)]
pub(super) struct Success {
    /// Always true; a refusal has `error` in its place.
    #[schema(examples(true))]
    success: bool,
}

impl Success {
    /// The only value.
    pub(super) const TRUE: Self = Self { success: true };
}
