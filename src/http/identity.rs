//! The customer that is logged in.

use sqlx::PgExecutor;

use super::extract::Caller;
use crate::db::customer_identity::{self, Viewer};
use crate::domain::IdentityId;
use crate::error::{ApiError, ErrorCode};

/// Whose identity this is; 401 unless it is one of the caller's organisation, not expired and not revoked.
pub(crate) async fn viewer(
    db: impl PgExecutor<'_>,
    caller: &Caller,
    identity: &IdentityId,
) -> Result<Viewer, ApiError> {
    let viewer = customer_identity::find(db, caller.organisation_id, identity).await?;
    viewer.ok_or_else(|| ErrorCode::UserMustBeAuthorized.into())
}
