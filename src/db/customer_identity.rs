//! The table `customer_identity`. Never cached: a logout is seen by every server at once.

use serde_json::json;
use sqlx::{PgConnection, PgExecutor};

use super::layout::Layout;
use crate::domain::{CuRefNo, IdentityId, Registration};

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

/// Ends every identity of a customer that is being deleted.
pub(super) async fn end_all_of(
    transaction: &mut PgConnection,
    organisation_id: i64,
    cu_ref_no: &CuRefNo,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update customer_identity set revoked_at = greatest(created_at, statement_timestamp())
         where organisation_id = $1 and cu_ref_no = $2 and revoked_at is null",
        organisation_id,
        cu_ref_no.as_str(),
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Deletes every identity of a customer that is being erased; returns how many there were.
pub(super) async fn delete_all_of(
    transaction: &mut PgConnection,
    organisation_id: i64,
    cu_ref_no: &CuRefNo,
) -> sqlx::Result<u64> {
    let deleted = sqlx::query!(
        "delete from customer_identity where organisation_id = $1 and cu_ref_no = $2",
        organisation_id,
        cu_ref_no.as_str(),
    )
    .execute(transaction)
    .await?;
    Ok(deleted.rows_affected())
}

/// Whether there is such an identity, perhaps one that has ended.
pub async fn exists(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    identity: &IdentityId,
) -> sqlx::Result<bool> {
    let hash = identity.hash();
    let found = sqlx::query!(
        "select hash from customer_identity where organisation_id = $1 and hash = $2",
        organisation_id,
        hash.as_bytes(),
    )
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Deletes identities that expired or were revoked an hour ago, a batch in each statement. For that hour [`exists`] tells them from
/// ids that never were.
pub async fn delete_ended(connection: &mut PgConnection, organisation_id: i64) -> sqlx::Result<()> {
    const BATCH: i64 = 1000;
    loop {
        // Those that another server deletes are its own.
        let deleted = sqlx::query!(
            "delete from customer_identity where organisation_id = $1 and hash = any (array(
                select hash from customer_identity
                where organisation_id = $1 and least(expires_at, revoked_at) <= now() - interval '1 hour'
                limit $2
                for update skip locked
            ))",
            organisation_id,
            BATCH,
        )
        .execute(&mut *connection)
        .await?
        .rows_affected();
        if deleted < BATCH.unsigned_abs() {
            return Ok(());
        }
    }
}

/// The reference of the customer whose identity this is, unless it has expired or been revoked.
pub async fn find(
    db: impl PgExecutor<'_>,
    layout: Layout,
    organisation_id: i64,
    identity: &IdentityId,
) -> sqlx::Result<Option<String>> {
    let hash = identity.hash();
    match layout {
        Layout::Single => {
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
        Layout::Distributed => {
            sqlx::query_scalar!("select customer_of_identity($1, $2)", organisation_id, hash.as_bytes())
                .fetch_one(db)
                .await
        }
    }
}
