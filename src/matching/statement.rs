//! The statement that makes a match.

use sqlx::PgExecutor;

use super::{Change, Customer, Match, MatchError, Outcome};
use crate::domain::{CuRefNo, Email, Notice};

/// Resolves both customers, creates the guest if need be and writes the relation, in one round trip and one implicit
/// transaction.
///
/// No interleaving of such statements fails or deadlocks: each takes its customers in share mode, then at most one new
/// address, then one pair, and waits for nobody who waits for it. `for key share` is what the foreign keys take anyway;
/// taken while looking, it also means that a customer cannot be deleted or merged between look and write.
pub(super) async fn execute(db: impl PgExecutor<'_>, wanted: &Match) -> Result<Outcome, MatchError> {
    let (cu_ref_no, email) = match &wanted.customer {
        Customer::CuRefNo(cu_ref_no) => (Some(cu_ref_no), None),
        Customer::Email(email) => (None, Some(email)),
    };
    let guest = CuRefNo::generate();
    let row = sqlx::query!(
        r#"
        with manager as materialized (
            select id from customer
            where organisation_id = $1 and cu_ref_no = $2 and deleted_at is null
            for key share
        ),
        by_cu_ref_no as materialized (
            select id from customer
            where organisation_id = $1 and cu_ref_no = $3 and deleted_at is null
            for key share
        ),
        by_email as materialized (
            select id from customer
            where organisation_id = $1 and email = $4 and deleted_at is null
            for key share
        ),
        -- A concurrent call may have created the guest since the snapshot was taken: the update, which changes nothing,
        -- waits for its commit and then returns its row.
        guest as (
            insert into customer (organisation_id, cu_ref_no, email)
            select $1, $5, $4 from manager where $4::text is not null and not exists (select from by_email)
            on conflict (organisation_id, email) where deleted_at is null do update set email = excluded.email
            returning id, cu_ref_no
        ),
        pair as materialized (
            select
                (select id from manager) as manager_id,
                coalesce(
                    (select id from by_cu_ref_no), (select id from by_email), (select id from guest)
                ) as customer_id
        ),
        written as (
            insert into customer_match (
                organisation_id, low_id, high_id, low_is_manager, high_is_manager, notice,
                created_at, matched_at, updated_at
            )
            select
                $1, least(manager_id, customer_id), greatest(manager_id, customer_id),
                manager_id < customer_id, customer_id < manager_id, $7,
                now(), now(), now()
            from pair
            where manager_id <> customer_id
            on conflict (organisation_id, low_id, high_id) do update set
                low_is_manager = customer_match.low_is_manager or excluded.low_is_manager,
                high_is_manager = customer_match.high_is_manager or excluded.high_is_manager,
                notice = case when $6 then excluded.notice else customer_match.notice end,
                matched_at = case when customer_match.deactivated_at is null
                                  then customer_match.matched_at else excluded.matched_at end,
                -- A call that waited for another began before it: time does not run backwards in a row.
                updated_at = greatest(customer_match.updated_at, excluded.updated_at),
                deactivated_at = null,
                version = customer_match.version + 1
            where customer_match.deactivated_at is not null
               or (excluded.low_is_manager and not customer_match.low_is_manager)
               or (excluded.high_is_manager and not customer_match.high_is_manager)
               or ($6 and customer_match.notice is distinct from excluded.notice)
            returning version, matched_at
        )
        select
            manager_id,
            customer_id,
            exists (select from guest where cu_ref_no = $5) as "customer_created!",
            (select version from written) as version,
            (select matched_at = now() from written) as matched_now
        from pair
        "#,
        wanted.organisation_id,
        wanted.manager.as_str(),
        cu_ref_no.map(CuRefNo::as_str),
        email.map(Email::as_str),
        guest.as_str(),
        wanted.notice.is_some(),
        wanted.notice.as_ref().and_then(Notice::text),
    )
    .fetch_one(db)
    .await?;

    let manager = row.manager_id.ok_or(MatchError::ManagerNotFound)?;
    let customer = row.customer_id.ok_or(MatchError::CustomerNotFound)?;
    if manager == customer {
        return Err(MatchError::SameCustomer);
    }
    let change = match (row.version, row.matched_now) {
        (None, _) => Change::Unchanged,
        (Some(1), _) => Change::Created,
        (Some(_), Some(true)) => Change::Reactivated,
        (Some(_), _) => Change::Updated,
    };
    Ok(Outcome { change, customer_created: row.customer_created })
}
