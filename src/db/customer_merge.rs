//! Merges two customers that are one person: the legacy customer is deleted, and the survivor has what both had.

use sqlx::{PgConnection, PgPool};

use super::error::was_rolled_back;
use super::retry::retry;
use super::transaction::transact;
use super::{customer_match, organisation};
use crate::domain::{CuRefNo, Notice};

#[derive(Debug, Clone, Copy)]
pub struct Merge<'a> {
    pub organisation_id: i64,
    /// Is deleted.
    pub legacy: &'a CuRefNo,
    pub survivor: &'a CuRefNo,
}

/// What a merge did, or would do.
#[derive(Debug, PartialEq, Eq)]
pub struct Merged {
    /// Relations that the survivor has now and the legacy customer had, the joined ones among them.
    pub relations: i64,
    /// Customers that had a relation with both: their two relations became one.
    pub joined: Vec<String>,
    /// Whether the two had a relation with each other, which has ended.
    pub self_relation: bool,
    /// The survivor's empty fields that the legacy customer had a value for.
    pub filled: Vec<&'static str>,
}

/// Why two customers were not merged; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error("a customer cannot be merged with itself")]
    SameCustomer,
    #[error("organisation {1} has no customer {0}")]
    NotFound(CuRefNo, i64),
    /// Not by a merge.
    #[error("customer {0} is deleted")]
    Deleted(CuRefNo),
    #[error("customer {0} is deleted: it was merged into {1}")]
    AlreadyMerged(CuRefNo, String),
    /// No notice may be lost, and two are too long for one.
    #[error(
        "the notices of {legacy} and of {survivor} with {} are longer than {} characters together: shorten one of them first",
        .others.join(", "), Notice::MAX_CHARACTERS
    )]
    NoticeTooLong {
        legacy: CuRefNo,
        survivor: CuRefNo,
        /// The customers that both have a relation with.
        others: Vec<String>,
    },
    /// After every retry.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl MergeError {
    /// Only after a certain rollback: a retry after a commit whose answer was lost would return
    /// [`MergeError::AlreadyMerged`].
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(error) if was_rolled_back(error))
    }
}

/// Merges in one transaction.
pub async fn merge(pool: &PgPool, wanted: Merge<'_>) -> Result<Merged, MergeError> {
    run(pool, wanted, true).await
}

/// Executes the statements of [`merge`] and rolls them back; both customers are locked until then.
pub async fn preview(pool: &PgPool, wanted: Merge<'_>) -> Result<Merged, MergeError> {
    run(pool, wanted, false).await
}

async fn run(pool: &PgPool, wanted: Merge<'_>, commit: bool) -> Result<Merged, MergeError> {
    if wanted.legacy == wanted.survivor {
        return Err(MergeError::SameCustomer);
    }
    let write = async |transaction: &mut PgConnection| write(transaction, wanted).await;
    retry(async || transact(pool, commit, write).await, MergeError::is_retryable).await
}

async fn write(transaction: &mut PgConnection, wanted: Merge<'_>) -> Result<Merged, MergeError> {
    // The other side of a relation may be merged at the same time, and hold what this one needs.
    organisation::lock_for_deletion(transaction, wanted.organisation_id).await?;
    let (legacy, survivor) = lock(transaction, wanted).await?;
    let joined = joined(transaction, wanted).await?;
    let moved = move_relations(transaction, wanted).await?;
    delete_legacy(transaction, wanted).await?;
    let filled = fill_survivor(transaction, wanted.organisation_id, &legacy, &survivor).await?;
    Ok(Merged { relations: moved.relations, joined, self_relation: moved.self_relation, filled })
}

struct LockedCustomer {
    cu_ref_no: String,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company_name: Option<String>,
    phone: Option<String>,
    company_registration_number: Option<String>,
    tax_identification_number: Option<String>,
    real_ip: Option<String>,
    deleted: bool,
    merged_into: Option<String>,
}

/// Locks the relations of both and then both customers, in the one lock order.
///
/// Nothing is read before. So a concurrent match of either customer has either been committed, and the following statements
/// see it in snapshots of their own, or it waits for this transaction.
async fn lock(
    transaction: &mut PgConnection,
    wanted: Merge<'_>,
) -> Result<(LockedCustomer, LockedCustomer), MergeError> {
    let names = [wanted.legacy.as_str(), wanted.survivor.as_str()];
    customer_match::lock_all_of(transaction, wanted.organisation_id, &names).await?;
    let mut customers = sqlx::query_as!(
        LockedCustomer,
        r#"select
               c.cu_ref_no, c.email, c.first_name, c.last_name, c.company_name, c.phone,
               c.company_registration_number, c.tax_identification_number, host(c.real_ip) as real_ip,
               c.deleted_at is not null as "deleted!", c.merged_into_cu_ref_no as merged_into
           from customer c
           where c.organisation_id = $1 and c.cu_ref_no = any($2)
           order by c.cu_ref_no
           for update"#,
        wanted.organisation_id,
        &names as &[&str],
    )
    .fetch_all(&mut *transaction)
    .await?;
    let mut take = |cu_ref_no: &CuRefNo| {
        let found = customers.iter().position(|customer| customer.cu_ref_no == cu_ref_no.as_str());
        let customer = customers.swap_remove(
            found.ok_or_else(|| MergeError::NotFound(cu_ref_no.clone(), wanted.organisation_id))?,
        );
        match customer.merged_into {
            Some(other) => Err(MergeError::AlreadyMerged(cu_ref_no.clone(), other)),
            None if customer.deleted => Err(MergeError::Deleted(cu_ref_no.clone())),
            None => Ok(customer),
        }
    };
    Ok((take(wanted.legacy)?, take(wanted.survivor)?))
}

/// The customers that both have a relation with, unless they were merged into others. Two notices that are too long for one are an error here, because the error of
/// the table's constraint would not name the customer.
async fn joined(transaction: &mut PgConnection, wanted: Merge<'_>) -> Result<Vec<String>, MergeError> {
    let pairs = sqlx::query!(
        r#"
        with legacy as (
            select case when low_cu_ref_no = $2 then high_cu_ref_no else low_cu_ref_no end as other, notice
            from customer_match
            where organisation_id = $1 and (low_cu_ref_no = $2 or high_cu_ref_no = $2)
              and not exists (
                  select from customer
                  where organisation_id = $1 and cu_ref_no in (low_cu_ref_no, high_cu_ref_no)
                    and merged_into_cu_ref_no is not null
              )
        ),
        survivor as (
            select case when low_cu_ref_no = $3 then high_cu_ref_no else low_cu_ref_no end as other, notice
            from customer_match where organisation_id = $1 and (low_cu_ref_no = $3 or high_cu_ref_no = $3)
        )
        select
            legacy.other as "other!",
            coalesce(
                survivor.notice <> '' and legacy.notice <> '' and survivor.notice <> legacy.notice
                    and char_length(survivor.notice) + 2 + char_length(legacy.notice) > $4,
                false
            ) as "too_long!"
        from legacy join survivor using (other)
        order by legacy.other
        "#,
        wanted.organisation_id,
        wanted.legacy.as_str(),
        wanted.survivor.as_str(),
        Notice::MAX_CHARACTERS as i64,
    )
    .fetch_all(transaction)
    .await?;
    let others: Vec<_> = pairs.iter().filter(|pair| pair.too_long).map(|pair| pair.other.clone()).collect();
    if !others.is_empty() {
        let (legacy, survivor) = (wanted.legacy.clone(), wanted.survivor.clone());
        return Err(MergeError::NoticeTooLong { legacy, survivor, others });
    }
    Ok(pairs.into_iter().map(|pair| pair.other).collect())
}

struct Moved {
    relations: i64,
    self_relation: bool,
}

/// Ends the legacy customer's relations and writes the survivor's.
async fn move_relations(transaction: &mut PgConnection, wanted: Merge<'_>) -> sqlx::Result<Moved> {
    let moved = sqlx::query_as!(
        Moved,
        r#"select relations as "relations!", self_relation as "self_relation!" from customer_match_merge($1, $2, $3)"#,
        wanted.organisation_id,
        wanted.legacy.as_str(),
        wanted.survivor.as_str(),
    )
    .fetch_one(&mut *transaction)
    .await?;
    customer_match::number_inserted(transaction, wanted.organisation_id).await?;
    Ok(moved)
}

async fn delete_legacy(transaction: &mut PgConnection, wanted: Merge<'_>) -> sqlx::Result<()> {
    // Those that were merged into it before: what they had is the survivor's too.
    sqlx::query!(
        "update customer set merged_into_cu_ref_no = $3 where organisation_id = $1 and merged_into_cu_ref_no = $2",
        wanted.organisation_id,
        wanted.legacy.as_str(),
        wanted.survivor.as_str(),
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query!(
        "update customer set
             deleted_at = at_least_now(created_at), deletion_reason = $3, merged_into_cu_ref_no = $4
         where organisation_id = $1 and cu_ref_no = $2",
        wanted.organisation_id,
        wanted.legacy.as_str(),
        format!("merged into {}", wanted.survivor),
        wanted.survivor.as_str(),
    )
    .execute(&mut *transaction)
    .await?;
    super::customer_identity::end_all_of(transaction, wanted.organisation_id, wanted.legacy).await
}

/// Must run after the legacy customer is deleted, which frees its e-mail address.
async fn fill_survivor(
    transaction: &mut PgConnection,
    organisation_id: i64,
    legacy: &LockedCustomer,
    survivor: &LockedCustomer,
) -> sqlx::Result<Vec<&'static str>> {
    let fields = [
        ("email", &survivor.email, &legacy.email),
        ("firstName", &survivor.first_name, &legacy.first_name),
        ("lastName", &survivor.last_name, &legacy.last_name),
        ("companyName", &survivor.company_name, &legacy.company_name),
        ("phone", &survivor.phone, &legacy.phone),
        (
            "companyRegistrationNumber",
            &survivor.company_registration_number,
            &legacy.company_registration_number,
        ),
        ("taxIdentificationNumber", &survivor.tax_identification_number, &legacy.tax_identification_number),
        ("customerRealIp", &survivor.real_ip, &legacy.real_ip),
    ];
    let filled: Vec<_> = fields
        .into_iter()
        .filter(|(_, ours, theirs)| ours.is_none() && theirs.is_some())
        .map(|(name, ..)| name)
        .collect();
    if !filled.is_empty() {
        sqlx::query!(
            "update customer set
                 email = coalesce(email, $3),
                 first_name = coalesce(first_name, $4),
                 last_name = coalesce(last_name, $5),
                 company_name = coalesce(company_name, $6),
                 phone = coalesce(phone, $7),
                 company_registration_number = coalesce(company_registration_number, $8),
                 tax_identification_number = coalesce(tax_identification_number, $9),
                 real_ip = coalesce(real_ip, $10::text::inet),
                 updated_at = at_least_now(next_microsecond(updated_at))
             where organisation_id = $1 and cu_ref_no = $2",
            organisation_id,
            survivor.cu_ref_no,
            legacy.email,
            legacy.first_name,
            legacy.last_name,
            legacy.company_name,
            legacy.phone,
            legacy.company_registration_number,
            legacy.tax_identification_number,
            legacy.real_ip,
        )
        .execute(transaction)
        .await?;
    }
    Ok(filled)
}
