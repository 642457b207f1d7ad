//! Deletes a customer: it is hidden everywhere at once, and its relations are deactivated.

use sqlx::{PgConnection, PgPool};

use super::error::was_rolled_back;
use super::organisation;
use super::retry::retry;
use super::transaction::transact;
use crate::domain::{CuRefNo, ProfileText};

/// Why a customer was not deleted; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error("organisation {1} has no customer {0}")]
    NotFound(CuRefNo, i64),
    #[error("customer {0} is deleted already")]
    AlreadyDeleted(CuRefNo),
    /// After every retry.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl DeleteError {
    /// Only after a certain rollback: a retry after a commit whose answer was lost would return
    /// [`DeleteError::AlreadyDeleted`].
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(error) if was_rolled_back(error))
    }
}

/// What a deletion did.
#[derive(Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Relations that were active.
    pub relations: i64,
    /// Customers that had been merged into this one. They are merged into none now.
    pub merged_from: Vec<String>,
}

/// Deletes a customer and deactivates its relations in one transaction.
///
/// The row stays: relations refer to it, and its reference is never reused. Its e-mail address is free at once.
pub async fn delete(
    pool: &PgPool,
    organisation_id: i64,
    cu_ref_no: &CuRefNo,
    reason: &ProfileText,
) -> Result<Deleted, DeleteError> {
    let write =
        async |transaction: &mut PgConnection| write(transaction, organisation_id, cu_ref_no, reason).await;
    retry(async || transact(pool, true, write).await, DeleteError::is_retryable).await
}

async fn write(
    transaction: &mut PgConnection,
    organisation_id: i64,
    cu_ref_no: &CuRefNo,
    reason: &ProfileText,
) -> Result<Deleted, DeleteError> {
    // A merge of the other side of a relation may hold what this needs, and need what this holds.
    organisation::lock_for_deletion(transaction, organisation_id).await?;
    super::customer_match::lock_all_of(transaction, organisation_id, &[cu_ref_no.as_str()]).await?;
    // A match in flight holds its customers `for key share` until its commit. This statement waits for it, and the next one,
    // with a snapshot of its own, sees its relation. A later match finds the customer locked or deleted.
    let found = sqlx::query!(
        r#"select deleted_at is not null as "deleted!"
           from customer where organisation_id = $1 and cu_ref_no = $2 for update"#,
        organisation_id,
        cu_ref_no.as_str(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let customer = found.ok_or_else(|| DeleteError::NotFound(cu_ref_no.clone(), organisation_id))?;
    if customer.deleted {
        return Err(DeleteError::AlreadyDeleted(cu_ref_no.clone()));
    }
    // Deactivated, so that no list has to look whether the other side still lives. The time is the statement's and not
    // the transaction's, which may have begun before the match that was waited for.
    let relations = sqlx::query_scalar!(
        r#"with deactivated as (
               update customer_match set
                   deactivated_at = at_least_now(next_microsecond(updated_at)),
                   updated_at = at_least_now(next_microsecond(updated_at)),
                   version = version + 1,
                   changed_in = change_number(version)
               where organisation_id = $1 and (low_cu_ref_no = $2 or high_cu_ref_no = $2) and active is not null
               returning version
           )
           select count(*) as "count!" from deactivated"#,
        organisation_id,
        cu_ref_no.as_str(),
    )
    .fetch_one(&mut *transaction)
    .await?;
    let mut merged_from = sqlx::query_scalar!(
        "update customer set merged_into_cu_ref_no = null where organisation_id = $1 and merged_into_cu_ref_no = $2
         returning cu_ref_no",
        organisation_id,
        cu_ref_no.as_str(),
    )
    .fetch_all(&mut *transaction)
    .await?;
    merged_from.sort();
    sqlx::query!(
        "update customer set deleted_at = at_least_now(created_at), deletion_reason = $3
         where organisation_id = $1 and cu_ref_no = $2",
        organisation_id,
        cu_ref_no.as_str(),
        reason.as_str(),
    )
    .execute(&mut *transaction)
    .await?;
    super::customer_identity::end_all_of(transaction, organisation_id, cu_ref_no).await?;
    Ok(Deleted { relations, merged_from })
}
