//! The statement of match imports about relations that have ended. Active ones are matches, which group commit writes.

use sqlx::{FromRow, PgExecutor};

/// Relations, one array for each column of a file.
#[derive(Debug, Default)]
pub struct EndedRelations<'a> {
    pub managers: Vec<&'a str>,
    pub cu_ref_nos: Vec<Option<&'a str>>,
    pub emails: Vec<Option<&'a str>>,
    pub notices: Vec<Option<&'a str>>,
    /// Whether the customer is a manager too.
    pub mutual: Vec<bool>,
}

#[derive(Debug, FromRow)]
pub struct Ended {
    pub manager_lives: bool,
    /// Null: it is named by an e-mail address that no customer has.
    pub customer: Option<String>,
    pub customer_lives: bool,
    /// `created`, `ended` or `updated`. Null: it was so before, or is of one customer with itself.
    pub change: Option<String>,
}

/// Makes relations exist and be ended; no pair may be there twice. The notice and the managers follow the rules of a match. One
/// statement, in the one lock order that the migration `write_batch` states. The results come in the order of the relations.
pub async fn end(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    relations: &EndedRelations<'_>,
) -> sqlx::Result<Vec<Ended>> {
    sqlx::query_as!(
        Ended,
        // Scalar subqueries, not `exists`, which may be planned as a scan of the whole organisation.
        r#"
        with named as materialized (
            select ordinal, manager, notice, mutual, coalesce(
                cu_ref_no,
                (select cu_ref_no from customer
                 where organisation_id = $1 and customer.email = named.email and deleted_at is null)
            ) as customer
            from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bool[])
                with ordinality as named (manager, cu_ref_no, email, notice, mutual, ordinal)
        ),
        pair as materialized (
            select
                *,
                (select living from customer where organisation_id = $1 and cu_ref_no = manager) is not null as manager_lives,
                (select living from customer where organisation_id = $1 and cu_ref_no = customer) is not null as customer_lives
            from named
        ),
        written as (
            insert into customer_match (
                organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
                created_at, matched_at, updated_at, deactivated_at
            )
            select $1, low, high, mutual or low = manager, mutual or high = manager, notice, at, at, at, at
            from (
                select
                    manager, notice, mutual, clock_timestamp() as at,
                    least(manager collate "C", customer collate "C") as low, greatest(manager collate "C", customer collate "C") as high
                from pair
                where manager_lives and customer_lives and manager <> customer
            ) as pair
            order by low, high
            on conflict (organisation_id, low_cu_ref_no, high_cu_ref_no) do update set
                low_is_manager = customer_match.low_is_manager or excluded.low_is_manager,
                high_is_manager = customer_match.high_is_manager or excluded.high_is_manager,
                notice = coalesce(excluded.notice, customer_match.notice),
                updated_at = greatest(next_microsecond(customer_match.updated_at), excluded.updated_at),
                deactivated_at = coalesce(
                    customer_match.deactivated_at,
                    greatest(next_microsecond(customer_match.updated_at), excluded.updated_at)
                ),
                version = customer_match.version + 1,
                changed_in = excluded.changed_in
            where customer_match.deactivated_at is null
               or (excluded.low_is_manager and not customer_match.low_is_manager)
               or (excluded.high_is_manager and not customer_match.high_is_manager)
               or excluded.notice <> coalesce(customer_match.notice, '')
            returning
                low_cu_ref_no as low, high_cu_ref_no as high,
                -- Of the changes of a row, only its end makes the two equal.
                case when version = 1 then 'created' when deactivated_at = updated_at then 'ended' else 'updated' end as change
        )
        select
            manager_lives as "manager_lives!", customer, customer_lives as "customer_lives!", change
        from pair
        left join written on low = least(manager collate "C", customer collate "C") and high = greatest(manager collate "C", customer collate "C")
        order by ordinal
        "#,
        organisation_id,
        &relations.managers as &[&str],
        &relations.cu_ref_nos as &[Option<&str>],
        &relations.emails as &[Option<&str>],
        &relations.notices as &[Option<&str>],
        &relations.mutual,
    )
    .fetch_all(db)
    .await
}

/// The same on a distributed database, one relation after the other.
pub async fn end_distributed(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    relations: &EndedRelations<'_>,
) -> sqlx::Result<Vec<Ended>> {
    sqlx::query_as!(
        Ended,
        r#"
        select manager_lives as "manager_lives!", customer, customer_lives as "customer_lives!", change
        from customer_match_import_ended($1, $2, $3, $4, $5, $6)
        "#,
        organisation_id,
        &relations.managers as &[&str],
        &relations.cu_ref_nos as &[Option<&str>],
        &relations.emails as &[Option<&str>],
        &relations.notices as &[Option<&str>],
        &relations.mutual,
    )
    .fetch_all(db)
    .await
}
