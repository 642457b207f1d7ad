//! Erases what is stored of a deleted customer but for its reference and its relations (GDPR, Article 17).

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::error::was_rolled_back;
use super::retry::retry;
use super::transaction::transact;
use super::{customer_match, organisation, write_batch};
use crate::domain::{CuRefNo, Timestamp};

#[derive(Debug, Clone, Copy)]
pub struct Erase<'a> {
    pub organisation_id: i64,
    pub cu_ref_no: &'a CuRefNo,
    /// Also the notices of its relations, which are the other customers' too.
    pub notices: bool,
}

/// What was erased, or would be.
#[derive(Debug, PartialEq, Eq)]
pub struct Erased {
    /// The fields that had a value.
    pub fields: Vec<String>,
    pub notices: i64,
    pub sessions: u64,
}

/// Why nothing was erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    #[error("organisation {1} has no customer {0}")]
    NotFound(CuRefNo, i64),
    #[error("customer {0} is not deleted: `customer-match customer delete` does that first")]
    NotDeleted(CuRefNo),
    /// Receipts may have its e-mail address, and a server that lost an answer reads them.
    #[error(
        "customer {0} was deleted a moment ago, and servers may still read answers about it: erase it after {1}"
    )]
    DeletedJustNow(CuRefNo, Timestamp),
    /// After every retry.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Erases in one transaction. May be called again, also to erase the notices later.
pub async fn erase(pool: &PgPool, wanted: Erase<'_>) -> Result<Erased, EraseError> {
    run(pool, wanted, true).await
}

/// Executes the statements of [`erase`] and rolls them back.
pub async fn preview(pool: &PgPool, wanted: Erase<'_>) -> Result<Erased, EraseError> {
    run(pool, wanted, false).await
}

async fn run(pool: &PgPool, wanted: Erase<'_>, commit: bool) -> Result<Erased, EraseError> {
    let write = async |transaction: &mut PgConnection| write(transaction, wanted).await;
    let is_retryable =
        |error: &EraseError| matches!(error, EraseError::Database(error) if was_rolled_back(error));
    retry(async || transact(pool, commit, write).await, is_retryable).await
}

struct DeletedCustomer {
    deleted_at: Option<DateTime<Utc>>,
    /// When no receipt that is still needed has anything of it.
    erasable_at: Option<DateTime<Utc>>,
    is_erasable: Option<bool>,
    fields: Vec<String>,
}

async fn write(transaction: &mut PgConnection, wanted: Erase<'_>) -> Result<Erased, EraseError> {
    let Erase { organisation_id, cu_ref_no, notices } = wanted;
    organisation::lock_for_deletion(transaction, organisation_id).await?;
    if notices {
        customer_match::lock_all_of(transaction, organisation_id, &[cu_ref_no.as_str()]).await?;
    }
    let found = sqlx::query_as!(
        DeletedCustomer,
        r#"
        select
            deleted_at, deleted_at + interval '1 minute' as erasable_at,
            deleted_at + interval '1 minute' <= clock_timestamp() as is_erasable,
            array_remove(array[
                case when email is not null then 'email' end,
                case when first_name is not null then 'firstName' end,
                case when last_name is not null then 'lastName' end,
                case when company_name is not null then 'companyName' end,
                case when phone is not null then 'phone' end,
                case when company_registration_number is not null then 'companyRegistrationNumber' end,
                case when tax_identification_number is not null then 'taxIdentificationNumber' end,
                case when real_ip is not null then 'customerRealIp' end,
                case when deletion_reason is not null then 'deletionReason' end
            ], null) as "fields!"
        from customer where organisation_id = $1 and cu_ref_no = $2 for update
        "#,
        organisation_id,
        cu_ref_no.as_str(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let customer = found.ok_or_else(|| EraseError::NotFound(cu_ref_no.clone(), organisation_id))?;
    if customer.deleted_at.is_none() {
        return Err(EraseError::NotDeleted(cu_ref_no.clone()));
    }
    if let (Some(false), Some(at)) = (customer.is_erasable, customer.erasable_at) {
        return Err(EraseError::DeletedJustNow(cu_ref_no.clone(), at.into()));
    }
    let notices = if notices { erase_notices(transaction, wanted).await? } else { 0 };
    erase_profile(transaction, wanted).await?;
    let sessions = super::customer_identity::delete_all_of(transaction, organisation_id, cu_ref_no).await?;
    write_batch::erase_old_answers(transaction).await?;
    Ok(Erased { fields: customer.fields, notices, sessions })
}

/// A version of its own, so that a client that edits the relation or follows its changes learns of it.
async fn erase_notices(transaction: &mut PgConnection, wanted: Erase<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"with erased as (
               update customer_match set
                   notice = null,
                   updated_at = at_least_now(next_microsecond(updated_at)),
                   version = version + 1,
                   changed_in = change_number(version)
               where organisation_id = $1 and (low_cu_ref_no = $2 or high_cu_ref_no = $2) and notice is not null
               returning version
           )
           select count(*) as "count!" from erased"#,
        wanted.organisation_id,
        wanted.cu_ref_no.as_str(),
    )
    .fetch_one(transaction)
    .await
}

async fn erase_profile(transaction: &mut PgConnection, wanted: Erase<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "update customer set
             email = null, first_name = null, last_name = null, company_name = null, phone = null,
             company_registration_number = null, tax_identification_number = null, real_ip = null, deletion_reason = null,
             updated_at = at_least_now(next_microsecond(updated_at)),
             erased_at = coalesce(erased_at, at_least_now(deleted_at))
         where organisation_id = $1 and cu_ref_no = $2",
        wanted.organisation_id,
        wanted.cu_ref_no.as_str(),
    )
    .execute(transaction)
    .await?;
    Ok(())
}
