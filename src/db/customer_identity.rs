//! The table `customer_identity`. Never cached: a logout is seen by every server at once.

use serde_json::json;
use sqlx::PgExecutor;

use crate::domain::{IdentityId, Registration};

/// Opens an identity of the customer with this e-mail address, which is registered if it does not exist; for the demo. Requests
/// use the group commit.
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

/// Deletes an identity, so that it can be opened anew; for the demo.
pub async fn delete(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    identity: &IdentityId,
) -> sqlx::Result<()> {
    let hash = identity.hash();
    sqlx::query!(
        "delete from customer_identity where organisation_id = $1 and hash = $2",
        organisation_id,
        hash.as_bytes(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The reference of the customer whose identity this is, unless it has expired or been revoked.
pub async fn find(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    identity: &IdentityId,
) -> sqlx::Result<Option<String>> {
    let hash = identity.hash();
    sqlx::query_scalar!(
        "select customer.cu_ref_no
         from customer_identity
         join customer on customer.organisation_id = $1 and customer.cu_ref_no = customer_identity.cu_ref_no and living
         where customer_identity.organisation_id = $1 and hash = $2 and revoked_at is null and expires_at > now()",
        organisation_id,
        hash.as_bytes(),
    )
    .fetch_optional(db)
    .await
}
