//! The documented success body.

use serde::Serialize;
use utoipa::ToSchema;

/// Exactly `{"success":true}`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Success {
    /// Always true; a refusal has `error` in its place.
    #[schema(examples(true))]
    success: bool,
}

impl Success {
    /// The only value.
    pub(crate) const TRUE: Self = Self { success: true };
}
