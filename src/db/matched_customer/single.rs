//! The statements of one Postgres.

use sqlx::PgConnection;

use super::{List, MAX_CANDIDATES, MAX_EXAMINED, MAX_ITEM_COUNT, MAX_PAGE_BYTES, MAX_SHORT_LIST, Row};
use crate::domain::SearchTerm;

/// One row at least, unless the owner does not exist or is not logged in.
pub(super) async fn page(db: &mut PgConnection, list: &List<'_>) -> sqlx::Result<Vec<Row>> {
    let (cu_ref_no, identity) = list.owner.names();
    sqlx::query_as!(
        Row,
        r#"
        with owner as materialized (
            select cu_ref_no from customer
            where organisation_id = $1 and living and cu_ref_no = coalesce($2, (
                select cu_ref_no from customer_identity
                where organisation_id = $1 and hash = $3 and revoked_at is null and expires_at > now()
            ))
        ),
        page as (
            (
                select
                    high_cu_ref_no as other, matched_at, updated_at, notice,
                    high_is_manager as is_manager, low_is_manager as is_managed
                from customer_match
                where organisation_id = $1 and low_cu_ref_no = (select cu_ref_no from owner) and active is not null
                  and (matched_at, high_cu_ref_no) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::text, '') collate "C")
                order by matched_at desc, high_cu_ref_no desc
                limit $6
            )
            union all
            (
                select low_cu_ref_no, matched_at, updated_at, notice, low_is_manager, high_is_manager
                from customer_match
                where organisation_id = $1 and high_cu_ref_no = (select cu_ref_no from owner) and active is not null
                  and (matched_at, low_cu_ref_no) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::text, '') collate "C")
                order by matched_at desc, low_cu_ref_no desc
                limit $6
            )
            order by matched_at desc, other desc
            limit $6
        )
        select
            null::int8 as item_count, other as "cu_ref_no?", c.email as "email?", c.first_name as "first_name?",
            c.last_name as "last_name?", c.company_name as "company_name?",
            case when coalesce(sum(octet_length(notice)) over two_before, 0) < $7 then nullif(notice, '') end as notice,
            is_manager as "is_manager?", is_managed as "is_managed?",
            matched_at as "matched_at?", page.updated_at as "updated_at?"
        from owner
        left join page on true
        left join customer c on c.organisation_id = $1 and c.cu_ref_no = other
        window two_before as (order by matched_at desc, other desc rows between unbounded preceding and 2 preceding)
        order by matched_at desc nulls last, other desc nulls last
        "#,
        list.organisation_id,
        cu_ref_no,
        identity.as_deref(),
        list.after_time(),
        list.after_cu_ref_no(),
        list.most(),
        MAX_PAGE_BYTES,
    )
    .fetch_all(db)
    .await
}

/// How many relations there are, or one more than [`MAX_ITEM_COUNT`]. Reads the indexes alone: both ends of an active relation
/// are living customers.
pub(super) async fn count(db: &mut PgConnection, list: &List<'_>) -> sqlx::Result<i64> {
    let (cu_ref_no, identity) = list.owner.names();
    sqlx::query_scalar!(
        r#"
        with owner as materialized (
            select coalesce($2, (select cu_ref_no from customer_identity where organisation_id = $1 and hash = $3)) as cu_ref_no
        )
        select count(*) as "count!" from (
            select from customer_match
            where organisation_id = $1 and low_cu_ref_no = (select cu_ref_no from owner) and active is not null
            union all
            select from customer_match
            where organisation_id = $1 and high_cu_ref_no = (select cu_ref_no from owner) and active is not null
            limit $4::int8 + 1
        ) as counted
        "#,
        list.organisation_id,
        cu_ref_no,
        identity.as_deref(),
        MAX_ITEM_COUNT,
    )
    .fetch_one(db)
    .await
}

/// Without a count when the list has more than [`MAX_SHORT_LIST`] relations; then nothing is looked for. No row: the owner does
/// not exist.
pub(super) async fn filter_short_list(
    db: &mut PgConnection,
    list: &List<'_>,
    term: &SearchTerm,
) -> sqlx::Result<Vec<Row>> {
    let (cu_ref_no, identity) = list.owner.names();
    sqlx::query_as!(
        Row,
        r#"
        with owner as materialized (
            select cu_ref_no from customer
            where organisation_id = $1 and living and cu_ref_no = coalesce($2, (
                select cu_ref_no from customer_identity
                where organisation_id = $1 and hash = $3 and revoked_at is null and expires_at > now()
            ))
        ),
        list as materialized (
            select high_cu_ref_no as other, matched_at
            from customer_match
            where organisation_id = $1 and low_cu_ref_no = (select cu_ref_no from owner) and active is not null
            union all
            select low_cu_ref_no, matched_at
            from customer_match
            where organisation_id = $1 and high_cu_ref_no = (select cu_ref_no from owner) and active is not null
            limit $7::int8 + 1
        ),
        -- The pattern in a sub-select is made once, not for each row.
        found as materialized (
            select other, matched_at, email, first_name, last_name, company_name
            from list
            join customer c on c.organisation_id = $1 and c.cu_ref_no = other
            where (select count(*) from list) <= $7 and search like (select search_pattern($8))
        ),
        page as (
            select * from found
            where (matched_at, other) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::text, '') collate "C")
            order by matched_at desc, other desc
            limit $6
        )
        select
            case when (select count(*) from list) <= $7 then (select count(*) from found) end as item_count,
            other as "cu_ref_no?", email as "email?", first_name as "first_name?", last_name as "last_name?",
            company_name as "company_name?",
            case when coalesce(sum(octet_length(notice)) over two_before, 0) < $9 then nullif(notice, '') end as notice,
            case other when m.low_cu_ref_no then low_is_manager else high_is_manager end as "is_manager?",
            case other when m.low_cu_ref_no then high_is_manager else low_is_manager end as "is_managed?",
            m.matched_at as "matched_at?", updated_at as "updated_at?"
        from owner
        left join page on true
        left join customer_match m on m.organisation_id = $1
            and m.low_cu_ref_no = least(owner.cu_ref_no, other) and m.high_cu_ref_no = greatest(owner.cu_ref_no, other)
        window two_before as (order by page.matched_at desc, other desc rows between unbounded preceding and 2 preceding)
        order by page.matched_at desc nulls last, other desc nulls last
        "#,
        list.organisation_id,
        cu_ref_no,
        identity.as_deref(),
        list.after_time(),
        list.after_cu_ref_no(),
        list.most(),
        MAX_SHORT_LIST,
        term.as_str(),
        MAX_PAGE_BYTES,
    )
    .fetch_all(db)
    .await
}

/// Without a count when the term is too short for trigrams or too many customers match it.
pub(super) async fn look_up_in_index(
    db: &mut PgConnection,
    list: &List<'_>,
    owner: &str,
    term: &SearchTerm,
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"
        with term as materialized (select is_rare_term($1, $7) as is_rare),
        candidate as materialized (
            select cu_ref_no from customer
            where organisation_id = $1 and deleted_at is null and search like (select search_pattern($7))
              and (select is_rare from term)
            limit $6::int8 + 1
        ),
        usable as materialized (
            select (select is_rare from term) and count(*) <= $6 as usable from candidate
        ),
        found as materialized (
            select candidate.cu_ref_no as other, m.*
            from candidate
            cross join lateral (
                select
                    matched_at, updated_at, notice,
                    case candidate.cu_ref_no when low_cu_ref_no then low_is_manager else high_is_manager end as is_manager,
                    case candidate.cu_ref_no when low_cu_ref_no then high_is_manager else low_is_manager end as is_managed
                from customer_match
                where organisation_id = $1 and active is not null
                  and low_cu_ref_no = least($2 collate "C", candidate.cu_ref_no)
                  and high_cu_ref_no = greatest($2 collate "C", candidate.cu_ref_no)
                limit 1
            ) as m
            where (select usable from usable)
        ),
        page as (
            select * from found
            where (matched_at, other) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::text, '') collate "C")
            order by matched_at desc, other desc
            limit $5
        )
        select
            case when usable then (select count(*) from found) end as item_count,
            other as "cu_ref_no?", c.email as "email?", c.first_name as "first_name?",
            c.last_name as "last_name?", c.company_name as "company_name?",
            case when coalesce(sum(octet_length(notice)) over two_before, 0) < $8 then nullif(notice, '') end as notice,
            is_manager as "is_manager?", is_managed as "is_managed?",
            matched_at as "matched_at?", page.updated_at as "updated_at?"
        from usable
        left join page on true
        left join customer c on c.organisation_id = $1 and c.cu_ref_no = other
        window two_before as (order by matched_at desc, other desc rows between unbounded preceding and 2 preceding)
        order by matched_at desc nulls last, other desc nulls last
        "#,
        list.organisation_id,
        owner,
        list.after_time(),
        list.after_cu_ref_no(),
        list.most(),
        MAX_CANDIDATES,
        term.as_str(),
        MAX_PAGE_BYTES,
    )
    .fetch_all(db)
    .await
}

/// Examines at most [`MAX_EXAMINED`] relations. When the page is not full and there are more, the row without `is_manager` is the last
/// one that was examined.
pub(super) async fn walk(
    db: &mut PgConnection,
    list: &List<'_>,
    owner: &str,
    term: &SearchTerm,
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"
        -- Read lazily, in the order of both indexes, by each of the two that use it.
        with list as not materialized (
            select * from (
                (
                    select high_cu_ref_no as other, matched_at
                    from customer_match
                    where organisation_id = $1 and low_cu_ref_no = $2 and active is not null
                      and (matched_at, high_cu_ref_no) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::text, '') collate "C")
                    order by matched_at desc, high_cu_ref_no desc
                    limit $6
                )
                union all
                (
                    select low_cu_ref_no, matched_at
                    from customer_match
                    where organisation_id = $1 and high_cu_ref_no = $2 and active is not null
                      and (matched_at, low_cu_ref_no) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::text, '') collate "C")
                    order by matched_at desc, low_cu_ref_no desc
                    limit $6
                )
            ) as sides
            order by matched_at desc, other desc
            limit $6
        ),
        found as materialized (
            select list.other, list.matched_at, c.*
            from list
            cross join lateral (
                select email, first_name, last_name, company_name
                from customer
                where organisation_id = $1 and cu_ref_no = other and search like (select search_pattern($7))
                limit 1
            ) as c
            order by list.matched_at desc, list.other desc
            limit $5
        ),
        examined as materialized (
            select matched_at, other from list
            where (select count(*) from found) < $5
            offset $6 - 1
        )
        select
            null::int8 as item_count, found.other as "cu_ref_no?", email as "email?", first_name as "first_name?",
            last_name as "last_name?", company_name as "company_name?",
            case when coalesce(sum(octet_length(notice)) over two_before, 0) < $8 then nullif(notice, '') end as notice,
            case found.other when m.low_cu_ref_no then m.low_is_manager else m.high_is_manager end as "is_manager?",
            case found.other when m.low_cu_ref_no then m.high_is_manager else m.low_is_manager end as "is_managed?",
            found.matched_at as "matched_at?", updated_at as "updated_at?"
        from found
        join customer_match m on m.organisation_id = $1
            and m.low_cu_ref_no = least($2 collate "C", found.other) and m.high_cu_ref_no = greatest($2 collate "C", found.other)
        window two_before as (order by found.matched_at desc, found.other desc rows between unbounded preceding and 2 preceding)
        union all
        select null, other, null, null, null, null, null, null, null, matched_at, null from examined
        order by 10 desc, 2 desc
        "#,
        list.organisation_id,
        owner,
        list.after_time(),
        list.after_cu_ref_no(),
        list.most(),
        MAX_EXAMINED,
        term.as_str(),
        MAX_PAGE_BYTES,
    )
    .fetch_all(db)
    .await
}
