//! The list of the customers that one customer is matched with: `customer_match` seen from either side of the pair.
//!
//! Each statement answers a whole page and the number of all items from one snapshot. Both sides are read, because the
//! internal ids decide which side of its pairs a customer is on.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::per_value_plan::PerValuePlan;
use crate::domain::SearchTerm;

/// A matched customer, as its counterpart sees it.
#[derive(Debug)]
pub struct MatchedCustomer {
    /// Its public reference.
    pub cu_ref_no: String,
    /// The normal form; `None` for those known by reference only.
    pub email: Option<String>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Company.
    pub company_name: Option<String>,
    /// The same for both sides; a cleared one is none.
    pub notice: Option<String>,
    /// What the listed customer is to the one whose list this is.
    pub role: Role,
    /// When the relation last became active.
    pub matched_at: DateTime<Utc>,
    /// When the relation last changed.
    pub updated_at: DateTime<Utc>,
}

/// Who manages whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The listed customer is the manager.
    Manager,
    /// The listed customer is managed.
    Customer,
    /// Each manages the other.
    Both,
}

/// The place behind an item, resolved: when it was matched and its internal id.
pub type Place = (DateTime<Utc>, i64);

/// Some items and the number of all.
#[derive(Debug, Default)]
pub struct Page {
    /// Newest first.
    pub items: Vec<MatchedCustomer>,
    /// How many there are over all pages.
    pub item_count: i64,
}

/// A page without items is still one row, for the count.
struct Row {
    item_count: i64,
    cu_ref_no: Option<String>,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company_name: Option<String>,
    notice: Option<String>,
    is_manager: Option<bool>,
    is_managed: Option<bool>,
    matched_at: Option<DateTime<Utc>>,
    updated_at: Option<DateTime<Utc>>,
}

impl Row {
    fn into_item(self) -> Option<MatchedCustomer> {
        Some(MatchedCustomer {
            cu_ref_no: self.cu_ref_no?,
            email: self.email,
            first_name: self.first_name,
            last_name: self.last_name,
            company_name: self.company_name,
            notice: self.notice,
            role: match (self.is_manager?, self.is_managed?) {
                (true, true) => Role::Both,
                (true, false) => Role::Manager,
                (false, _) => Role::Customer,
            },
            matched_at: self.matched_at?,
            updated_at: self.updated_at?,
        })
    }
}

impl From<Vec<Row>> for Page {
    fn from(rows: Vec<Row>) -> Self {
        let item_count = rows.first().map_or(0, |row| row.item_count);
        Self { items: rows.into_iter().filter_map(Row::into_item).collect(), item_count }
    }
}

/// Everybody the customer is matched with, from the place `after` on, at most `limit` of them.
///
/// Each side is one index read in the order of the list, as far as `limit`, so a page costs the same however many
/// relations there are. Only the count reads them all, from the index alone.
pub async fn page(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    customer_id: i64,
    after: Option<Place>,
    limit: i64,
) -> sqlx::Result<Page> {
    let (matched_at, id) = after.unzip();
    let rows = sqlx::query_as!(
        Row,
        r#"
        with page as (
            (
                select
                    m.high_id as id, m.matched_at, m.updated_at, m.notice,
                    m.high_is_manager as is_manager, m.low_is_manager as is_managed,
                    c.cu_ref_no, c.email, c.first_name, c.last_name, c.company_name
                from customer_match m
                join customer c on c.organisation_id = $1 and c.id = m.high_id and c.deleted_at is null
                where m.organisation_id = $1 and m.low_id = $2 and m.deactivated_at is null
                  and (m.matched_at, m.high_id) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::int8, 9223372036854775807))
                order by m.matched_at desc, m.high_id desc
                limit $5
            )
            union all
            (
                select
                    m.low_id, m.matched_at, m.updated_at, m.notice, m.low_is_manager, m.high_is_manager,
                    c.cu_ref_no, c.email, c.first_name, c.last_name, c.company_name
                from customer_match m
                join customer c on c.organisation_id = $1 and c.id = m.low_id and c.deleted_at is null
                where m.organisation_id = $1 and m.high_id = $2 and m.deactivated_at is null
                  and (m.matched_at, m.low_id) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::int8, 9223372036854775807))
                order by m.matched_at desc, m.low_id desc
                limit $5
            )
        ),
        -- Of active relations alone, which those of a deleted customer are not: the customers need not be read.
        total as (
            select
                (
                    select count(*) from customer_match
                    where organisation_id = $1 and low_id = $2 and deactivated_at is null
                ) + (
                    select count(*) from customer_match
                    where organisation_id = $1 and high_id = $2 and deactivated_at is null
                ) as item_count
        )
        select
            item_count as "item_count!", cu_ref_no as "cu_ref_no?", email, first_name, last_name, company_name,
            nullif(notice, '') as notice,
            is_manager as "is_manager?", is_managed as "is_managed?",
            matched_at as "matched_at?", updated_at as "updated_at?"
        from total left join page on true
        order by matched_at desc nulls last, id desc nulls last
        limit $5
        "#,
        organisation_id,
        customer_id,
        matched_at,
        id,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into())
}

/// Those of [`page`] in whose name, company or address the term is found.
///
/// Which is shorter, the way through the relations or the one through the index of trigrams, depends on the customer
/// and the term: the statement is planned for them. All that is found is counted anyway, so it is found once, and only
/// the page is read whole.
pub async fn search(
    db: &mut PgConnection,
    organisation_id: i64,
    customer_id: i64,
    term: &SearchTerm,
    after: Option<Place>,
    limit: i64,
) -> sqlx::Result<Page> {
    let (matched_at, id) = after.unzip();
    let rows = sqlx::query_as!(
        Row,
        r#"
        with found as materialized (
            select m.low_id, m.high_id, m.high_id as id, m.matched_at
            from customer_match m
            join customer c on c.organisation_id = $1 and c.id = m.high_id
            where m.organisation_id = $1 and m.low_id = $2 and m.deactivated_at is null
              and c.deleted_at is null and c.search like search_pattern($6)
            union all
            select m.low_id, m.high_id, m.low_id, m.matched_at
            from customer_match m
            join customer c on c.organisation_id = $1 and c.id = m.low_id
            where m.organisation_id = $1 and m.high_id = $2 and m.deactivated_at is null
              and c.deleted_at is null and c.search like search_pattern($6)
        ),
        place as (
            select low_id, high_id, id from found
            where (matched_at, id) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::int8, 9223372036854775807))
            order by matched_at desc, id desc
            limit $5
        ),
        page as (
            select
                place.id, m.matched_at, m.updated_at, m.notice,
                case place.id when m.low_id then m.low_is_manager else m.high_is_manager end as is_manager,
                case place.id when m.low_id then m.high_is_manager else m.low_is_manager end as is_managed,
                c.cu_ref_no, c.email, c.first_name, c.last_name, c.company_name
            from place
            join customer_match m
                on m.organisation_id = $1 and m.low_id = place.low_id and m.high_id = place.high_id
            join customer c on c.organisation_id = $1 and c.id = place.id
        ),
        total as (select count(*) as item_count from found)
        select
            item_count as "item_count!", cu_ref_no as "cu_ref_no?", email, first_name, last_name, company_name,
            nullif(notice, '') as notice,
            is_manager as "is_manager?", is_managed as "is_managed?",
            matched_at as "matched_at?", updated_at as "updated_at?"
        from total left join page on true
        order by matched_at desc nulls last, id desc nulls last
        "#,
        organisation_id,
        customer_id,
        matched_at,
        id,
        limit,
        term.as_str(),
    )
    .fetch_all(PerValuePlan(db))
    .await?;
    Ok(rows.into())
}
