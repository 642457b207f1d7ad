//! The end of a relation.

use sqlx::{PgExecutor, PgPool};

use crate::db::retry::retry;
use crate::db::{self, Failure};
use crate::domain::CuRefNo;

/// A relation that somebody wants to end. The order of the two does not matter.
#[derive(Debug, Clone)]
pub struct Unmatch {
    /// Whose customers both are.
    pub organisation_id: i64,
    /// One side.
    pub manager: CuRefNo,
    /// The other side.
    pub customer: CuRefNo,
}

/// Why a relation was not ended; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum UnmatchError {
    /// No such customer in the organisation, or deleted.
    #[error("customer {0} does not exist")]
    CustomerNotFound(CuRefNo),
    /// The two were never matched.
    #[error("the relation does not exist")]
    RelationNotFound,
    /// The database did not do it, after every attempt.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Failure for UnmatchError {
    fn database(&self) -> Option<&sqlx::Error> {
        if let Self::Database(error) = self { Some(error) } else { None }
    }
}

/// Ends the relation; one that has been ended before is left as it is. Durable when this returns.
///
/// It does not wait in the queue of the matches, as it is rare; whoever was answered before is overtaken by nobody.
pub async fn unmatch(pool: &PgPool, unwanted: &Unmatch) -> Result<(), UnmatchError> {
    retry(|| db::run(pool, async |db| execute(db, unwanted).await)).await
}

/// Resolves both customers and deactivates their relation, in one round trip and one implicit transaction, with
/// the customers locked in share mode and then the one pair.
async fn execute(db: impl PgExecutor<'_>, unwanted: &Unmatch) -> Result<(), UnmatchError> {
    let row = sqlx::query!(
        r#"
        with manager as materialized (
            select id from customer
            where organisation_id = $1 and cu_ref_no = $2 and deleted_at is null
            for key share
        ),
        other as materialized (
            select id from customer
            where organisation_id = $1 and cu_ref_no = $3 and deleted_at is null
            for key share
        ),
        pair as materialized (
            select (select id from manager) as manager_id, (select id from other) as customer_id
        ),
        deactivated as (
            update customer_match m set
                deactivated_at = greatest(m.updated_at, now()),
                updated_at = greatest(m.updated_at, now()),
                version = m.version + 1
            from pair
            where m.organisation_id = $1
              and m.low_id = least(manager_id, customer_id) and m.high_id = greatest(manager_id, customer_id)
              and m.deactivated_at is null
        )
        select
            manager_id,
            customer_id,
            exists (
                select from customer_match m
                where m.organisation_id = $1
                  and m.low_id = least(manager_id, customer_id) and m.high_id = greatest(manager_id, customer_id)
            ) as "matched!"
        from pair
        "#,
        unwanted.organisation_id,
        unwanted.manager.as_str(),
        unwanted.customer.as_str(),
    )
    .fetch_one(db)
    .await?;

    let not_found = |cu_ref_no: &CuRefNo| UnmatchError::CustomerNotFound(cu_ref_no.clone());
    row.manager_id.ok_or_else(|| not_found(&unwanted.manager))?;
    row.customer_id.ok_or_else(|| not_found(&unwanted.customer))?;
    if row.matched { Ok(()) } else { Err(UnmatchError::RelationNotFound) }
}
