//! The success body.

use serde::Serialize;
use utoipa::ToSchema;

/// Exactly `{"success":true}`, the contract's answer of most endpoints.
#[derive(Serialize, ToSchema)]
pub(crate) struct Success {
    /// Always true; an error has `error` in its place.
    #[schema(examples(true))]
    success: bool,
}

impl Success {
    pub(crate) const TRUE: Self = Self { success: true };
}
