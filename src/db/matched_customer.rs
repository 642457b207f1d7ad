//! The list of the customers that one customer is matched with: `customer_match` seen from either side of the pair.
//!
//! Each statement answers a whole page and the number of all items from one snapshot. Both sides are read, since the order of
//! the references decides which side of its pairs a customer is on.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::per_value_plan::PerValuePlan;
use crate::domain::{Cursor, SearchTerm};

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

/// All customers that the customer is matched with, from the place `after` on, at most `limit` of them.
///
/// Each side is one index read in the order of the list, as far as `limit`, so a page costs the same however many
/// relations there are. Only the count reads them all, from the index alone.
pub async fn page(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    owner: &str,
    after: Option<&Cursor>,
    limit: i64,
) -> sqlx::Result<Page> {
    let matched_at = after.map(|cursor| cursor.matched_at);
    let other = after.map(|cursor| cursor.cu_ref_no.as_str());
    let rows = sqlx::query_as!(
        Row,
        r#"
        with page as (
            (
                select
                    m.high_cu_ref_no as other, m.matched_at, m.updated_at, m.notice,
                    m.high_is_manager as is_manager, m.low_is_manager as is_managed
                from customer_match m
                where m.organisation_id = $1 and m.low_cu_ref_no = $2 and m.active is not null
                  and (m.matched_at, m.high_cu_ref_no) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::text, '') collate "C")
                order by m.matched_at desc, m.high_cu_ref_no desc
                limit $5
            )
            union all
            (
                select
                    m.low_cu_ref_no, m.matched_at, m.updated_at, m.notice, m.low_is_manager, m.high_is_manager
                from customer_match m
                where m.organisation_id = $1 and m.high_cu_ref_no = $2 and m.active is not null
                  and (m.matched_at, m.low_cu_ref_no) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::text, '') collate "C")
                order by m.matched_at desc, m.low_cu_ref_no desc
                limit $5
            )
        ),
        -- Both ends of an active relation are living customers: these need not be read.
        total as (
            select
                (
                    select count(*) from customer_match
                    where organisation_id = $1 and low_cu_ref_no = $2 and active is not null
                ) + (
                    select count(*) from customer_match
                    where organisation_id = $1 and high_cu_ref_no = $2 and active is not null
                ) as item_count
        )
        select
            item_count as "item_count!", other as "cu_ref_no?", c.email as "email?", c.first_name as "first_name?",
            c.last_name as "last_name?", c.company_name as "company_name?",
            nullif(notice, '') as notice,
            is_manager as "is_manager?", is_managed as "is_managed?",
            matched_at as "matched_at?", updated_at as "updated_at?"
        from total
        left join (select * from page order by matched_at desc, other desc limit $5) as page on true
        left join customer c on c.organisation_id = $1 and c.cu_ref_no = other
        order by matched_at desc nulls last, other desc nulls last
        "#,
        organisation_id,
        owner,
        matched_at,
        other,
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
    owner: &str,
    term: &SearchTerm,
    after: Option<&Cursor>,
    limit: i64,
) -> sqlx::Result<Page> {
    let matched_at = after.map(|cursor| cursor.matched_at);
    let other = after.map(|cursor| cursor.cu_ref_no.as_str());
    let rows = sqlx::query_as!(
        Row,
        r#"
        with found as materialized (
            select m.low_cu_ref_no, m.high_cu_ref_no, m.high_cu_ref_no as other, m.matched_at
            from customer_match m
            join customer c on c.organisation_id = $1 and c.cu_ref_no = m.high_cu_ref_no
            where m.organisation_id = $1 and m.low_cu_ref_no = $2 and m.active is not null
              and c.deleted_at is null and c.search like search_pattern($6)
            union all
            select m.low_cu_ref_no, m.high_cu_ref_no, m.low_cu_ref_no, m.matched_at
            from customer_match m
            join customer c on c.organisation_id = $1 and c.cu_ref_no = m.low_cu_ref_no
            where m.organisation_id = $1 and m.high_cu_ref_no = $2 and m.active is not null
              and c.deleted_at is null and c.search like search_pattern($6)
        ),
        place as (
            select low_cu_ref_no, high_cu_ref_no, other from found
            where (matched_at, other) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::text, '') collate "C")
            order by matched_at desc, other desc
            limit $5
        ),
        page as (
            select
                place.other, m.matched_at, m.updated_at, m.notice,
                case place.other when m.low_cu_ref_no then m.low_is_manager else m.high_is_manager end as is_manager,
                case place.other when m.low_cu_ref_no then m.high_is_manager else m.low_is_manager end as is_managed,
                c.email, c.first_name, c.last_name, c.company_name
            from place
            join customer_match m on m.organisation_id = $1
                and m.low_cu_ref_no = place.low_cu_ref_no and m.high_cu_ref_no = place.high_cu_ref_no
            join customer c on c.organisation_id = $1 and c.cu_ref_no = place.other
        ),
        total as (select count(*) as item_count from found)
        select
            item_count as "item_count!", other as "cu_ref_no?", email, first_name, last_name, company_name,
            nullif(notice, '') as notice,
            is_manager as "is_manager?", is_managed as "is_managed?",
            matched_at as "matched_at?", updated_at as "updated_at?"
        from total left join page on true
        order by matched_at desc nulls last, other desc nulls last
        "#,
        organisation_id,
        owner,
        matched_at,
        other,
        limit,
        term.as_str(),
    )
    .fetch_all(PerValuePlan(db))
    .await?;
    Ok(rows.into())
}
