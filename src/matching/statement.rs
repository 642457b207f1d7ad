//! The statement that makes matches: all of one organisation that wait at the same moment.

use sqlx::PgConnection;

use super::{Change, Customer, Match, MatchError, Outcome};
use crate::domain::{CuRefNo, Notice};

/// What the statement came to for one match.
pub(super) enum Verdict {
    /// Done, durable and final, one way or the other.
    Done(Result<Outcome, MatchError>),
    /// Another match of the same pair, earlier in the batch, was made; this one is for the next statement.
    Deferred,
}

/// A row of the answer.
struct Row {
    manager_id: Option<i64>,
    customer_id: Option<i64>,
    customer_created: bool,
    turn: i64,
    version: Option<i64>,
    matched_now: Option<bool>,
}

/// Resolves every customer, creates the guests and writes the relations, in one round trip and one implicit transaction.
/// The verdicts come in the order of the matches, which is the order in which they take effect.
///
/// No interleaving of such statements deadlocks: each takes its customers in share mode, then new addresses in their
/// order, then pairs in theirs, and waits for nobody who waits for it. `for key share` is what the foreign keys take
/// anyway; taken while looking, it also means that a customer cannot be deleted or merged between look and write.
pub(super) async fn execute(
    connection: &mut PgConnection,
    organisation_id: i64,
    matches: &[&Match],
) -> sqlx::Result<Vec<Verdict>> {
    let ordinals: Vec<i32> = (0..).take(matches.len()).collect();
    let managers: Vec<&str> = matches.iter().map(|wanted| wanted.manager.as_str()).collect();
    let cu_ref_nos: Vec<Option<&str>> = matches.iter().map(|wanted| wanted.customer.cu_ref_no()).collect();
    let emails: Vec<Option<&str>> = matches.iter().map(|wanted| wanted.customer.email()).collect();
    let notices: Vec<Option<&str>> =
        matches.iter().map(|wanted| wanted.notice.as_ref().map(Notice::as_str)).collect();
    // A reference for the guest, should the address be new.
    let guests: Vec<Option<String>> =
        emails.iter().map(|email| email.map(|_| CuRefNo::generate().to_string())).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"
        -- `deleted_at is null` does not stand in the conditions on the reference: before the table is analysed, it makes
        -- the index of addresses look like the shortest way to a reference.
        with wanted as materialized (
            select
                wanted.*,
                (
                    select case when deleted_at is null then id end from customer
                    where organisation_id = $1 and cu_ref_no = manager
                    for key share
                ) as manager_id,
                case when cu_ref_no is not null then (
                    select case when deleted_at is null then id end from customer
                    where organisation_id = $1 and customer.cu_ref_no = wanted.cu_ref_no
                    for key share
                ) else (
                    select id from customer
                    where organisation_id = $1 and customer.email = wanted.email and deleted_at is null
                    for key share
                ) end as customer_id
            from unnest($2::int4[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
                as wanted (ordinal, manager, cu_ref_no, email, notice, guest)
        ),
        -- A concurrent call may have created the guest since the snapshot was taken: the update, which changes nothing,
        -- waits for its commit and then returns its row.
        guest as (
            insert into customer (organisation_id, cu_ref_no, email)
            select distinct on (email) $1, guest, email from wanted
            where manager_id is not null and customer_id is null and email is not null
            order by email, ordinal
            on conflict (organisation_id, email) where deleted_at is null do update set email = excluded.email
            returning id, cu_ref_no, email
        ),
        pair as materialized (
            select
                ordinal, manager_id, coalesce(customer_id, guest.id) as customer_id, notice,
                coalesce(guest.cu_ref_no = wanted.guest, false) as customer_created,
                -- A statement may touch a row only once.
                row_number() over (
                    partition by
                        least(manager_id, coalesce(customer_id, guest.id)),
                        greatest(manager_id, coalesce(customer_id, guest.id))
                    order by ordinal
                ) as turn
            from wanted left join guest on guest.email = wanted.email and customer_id is null
        ),
        written as (
            insert into customer_match (
                organisation_id, low_id, high_id, low_is_manager, high_is_manager, notice,
                created_at, matched_at, updated_at
            )
            select
                $1, least(manager_id, customer_id), greatest(manager_id, customer_id),
                manager_id < customer_id, customer_id < manager_id, notice,
                now(), now(), now()
            from pair
            where manager_id <> customer_id and turn = 1
            order by least(manager_id, customer_id), greatest(manager_id, customer_id)
            on conflict (organisation_id, low_id, high_id) do update set
                low_is_manager = customer_match.low_is_manager or excluded.low_is_manager,
                high_is_manager = customer_match.high_is_manager or excluded.high_is_manager,
                notice = coalesce(excluded.notice, customer_match.notice),
                matched_at = case when customer_match.deactivated_at is null
                                  then customer_match.matched_at else excluded.matched_at end,
                -- A call that waited for another began before it: time does not run backwards in a row.
                updated_at = greatest(customer_match.updated_at, excluded.updated_at),
                deactivated_at = null,
                version = customer_match.version + 1
            where customer_match.deactivated_at is not null
               or (excluded.low_is_manager and not customer_match.low_is_manager)
               or (excluded.high_is_manager and not customer_match.high_is_manager)
               or excluded.notice <> coalesce(customer_match.notice, '')
            returning low_id, high_id, version, matched_at
        )
        select
            manager_id, customer_id, customer_created as "customer_created!",
            turn as "turn!", version as "version?", matched_at = now() as matched_now
        from pair left join written
            on low_id = least(manager_id, customer_id) and high_id = greatest(manager_id, customer_id)
        order by ordinal
        "#,
        organisation_id,
        &ordinals,
        &managers as &[&str],
        &cu_ref_nos as &[Option<&str>],
        &emails as &[Option<&str>],
        &notices as &[Option<&str>],
        &guests as &[Option<String>],
    )
    .fetch_all(connection)
    .await?;
    Ok(matches.iter().zip(rows).map(|(wanted, row)| verdict(wanted, &row)).collect())
}

fn verdict(wanted: &Match, row: &Row) -> Verdict {
    let not_found = |cu_ref_no: &CuRefNo| Verdict::Done(Err(MatchError::CustomerNotFound(cu_ref_no.clone())));
    let Some(manager_id) = row.manager_id else { return not_found(&wanted.manager) };
    let customer_id = match (row.customer_id, &wanted.customer) {
        (Some(id), _) => id,
        (None, Customer::CuRefNo(cu_ref_no)) => return not_found(cu_ref_no),
        // Whoever had the address was deleted at this very moment.
        (None, Customer::Email(_)) => return Verdict::Deferred,
    };
    if manager_id == customer_id {
        return Verdict::Done(Err(MatchError::SameCustomer));
    }
    if row.turn > 1 {
        return Verdict::Deferred;
    }
    let change = match (row.version, row.matched_now) {
        (None, _) => Change::Unchanged,
        (Some(1), _) => Change::Created,
        (Some(_), Some(true)) => Change::Reactivated,
        (Some(_), _) => Change::Updated,
    };
    Verdict::Done(Ok(Outcome { change, customer_created: row.customer_created, manager_id, customer_id }))
}
