//! The table `customer_identity`. Never cached: a logout is seen by every server at once.

use serde_json::json;
use sqlx::PgExecutor;

use crate::domain::{IdentityId, Registration};

/// Logs in the customer with this e-mail address, who is registered first if need be; for the demo. Requests go through
/// [`crate::group_commit`].
pub async fn open(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    identity: &IdentityId,
    registration: &Registration,
) -> sqlx::Result<()> {
    let mut wanted = json!(registration);
    wanted["hash"] = json!(identity.hash().to_hex());
    sqlx::query!("select customer_identity_open($1, $2)", organisation_id, wanted).fetch_one(db).await?;
    Ok(())
}
