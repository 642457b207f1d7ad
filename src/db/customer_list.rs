//! The list of an organisation's customers, in the order of their references.
//!
//! Every statement has one plan that is right for all values, and is bounded by the number of rows it reads or by its time, as
//! those of [`matched_customer`](super::matched_customer) are.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::connections::bounded;
use super::layout::Layout;
use super::matched_customer::{MAX_CANDIDATES, MAX_EXAMINED, SEARCH_TIMEOUT};
use super::page_end::{items_that_fit, json_bytes};
use super::transaction::within_statement_timeout;
use crate::domain::{CuRefNo, Customer, SearchTerm};

#[derive(Debug)]
pub struct Page {
    pub items: Vec<Customer>,
    /// Where the next page begins; `None` on the last.
    pub next_cursor: Option<CuRefNo>,
}

/// What each statement returns: the items of the page and one more, which tells whether there is another page. A row without
/// `created_at` is no item.
#[derive(Deserialize)]
struct Row {
    cu_ref_no: Option<String>,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company_name: Option<String>,
    phone: Option<String>,
    company_registration_number: Option<String>,
    tax_identification_number: Option<String>,
    created_at: Option<DateTime<Utc>>,
    updated_at: Option<DateTime<Utc>>,
}

impl Row {
    /// The table holds references in their format only.
    fn cursor(&self) -> Option<CuRefNo> {
        CuRefNo::parse(self.cu_ref_no.as_deref()?).ok()
    }

    fn json_bytes(&self) -> i64 {
        json_bytes([
            &self.email,
            &self.first_name,
            &self.last_name,
            &self.company_name,
            &self.phone,
            &self.company_registration_number,
            &self.tax_identification_number,
        ])
    }

    fn into_item(self) -> Option<Customer> {
        Some(Customer {
            cu_ref_no: self.cu_ref_no?,
            email: self.email,
            first_name: self.first_name,
            last_name: self.last_name,
            company_name: self.company_name,
            phone: self.phone,
            company_registration_number: self.company_registration_number,
            tax_identification_number: self.tax_identification_number,
            created_at: self.created_at?.into(),
            updated_at: self.updated_at?.into(),
        })
    }
}

impl Page {
    /// After a page that is not full the row that is no item says where the next one begins.
    fn of(rows: Vec<Row>, limit: usize) -> Self {
        let is_item = |row: &&Row| row.created_at.is_some();
        let end = items_that_fit(rows.iter().filter(is_item).map(Row::json_bytes), limit);
        let is_full = rows.iter().filter(is_item).count() > end;
        let last =
            if is_full { rows.get(end.saturating_sub(1)) } else { rows.iter().find(|row| !is_item(row)) };
        let next_cursor = last.and_then(Row::cursor);
        let items = rows.into_iter().filter_map(Row::into_item).take(end).collect();
        Self { items, next_cursor }
    }
}

/// One page of the living customers, from the position `after` on; with a term, of those in whose name, company or e-mail address
/// it is found.
///
/// A rare term leads through the index of trigrams to the customers. For any other, and without one, the customers are walked in
/// the order of the list, until the page is full or [`MAX_EXAMINED`] of them have been looked at, deleted ones too. They are
/// also walked when the index takes longer than `index_timeout`.
pub async fn page(
    db: &mut PgConnection,
    layout: Layout,
    organisation_id: i64,
    term: Option<&SearchTerm>,
    after: Option<&CuRefNo>,
    limit: usize,
    index_timeout: Duration,
) -> sqlx::Result<Page> {
    let read = async {
        if let Some(term) = term {
            let look_up = async |db: &mut PgConnection| {
                look_up_in_index(db, layout, organisation_id, term, after, limit).await
            };
            let rows = within_statement_timeout(db, layout, index_timeout, look_up).await?;
            if let Some(rows) = rows.filter(|rows| !rows.is_empty()) {
                return Ok(rows);
            }
        }
        walk(db, layout, organisation_id, term, after, limit).await
    };
    Ok(Page::of(bounded(SEARCH_TIMEOUT, read).await?, limit))
}

/// No row when the term is too short for trigrams or too many customers match it; one of nulls when there is no item.
async fn look_up_in_index(
    db: &mut PgConnection,
    layout: Layout,
    organisation_id: i64,
    term: &SearchTerm,
    after: Option<&CuRefNo>,
    limit: usize,
) -> sqlx::Result<Vec<Row>> {
    if layout == Layout::Distributed {
        let rows = sqlx::query_scalar!(
            r#"select customer_list_look_up($1, $2, $3, $4, $5) as "rows: Json<Vec<Row>>""#,
            organisation_id,
            term.as_str(),
            after.map(CuRefNo::as_str),
            limit as i64 + 1,
            MAX_CANDIDATES,
        )
        .fetch_one(db)
        .await?;
        return Ok(rows.map(|Json(rows)| rows).unwrap_or_default());
    }
    sqlx::query_as!(
        Row,
        r#"
        with term as materialized (select is_rare_term($1, $2) as is_rare),
        -- The pattern in a sub-select is made once, not for each row.
        candidate as materialized (
            select cu_ref_no from customer
            where organisation_id = $1 and deleted_at is null and search like (select search_pattern($2))
              and (select is_rare from term)
            limit $5::int8 + 1
        ),
        usable as materialized (
            select from term where is_rare and (select count(*) from candidate) <= $5
        ),
        page as (
            select cu_ref_no from candidate
            where cu_ref_no > coalesce($3::text, '') collate "C"
            order by cu_ref_no
            limit $4
        )
        select
            c.cu_ref_no as "cu_ref_no?", email, first_name, last_name, company_name, phone, company_registration_number,
            tax_identification_number, created_at as "created_at?", updated_at as "updated_at?"
        from usable
        left join page on true
        left join customer c on c.organisation_id = $1 and c.cu_ref_no = page.cu_ref_no
        order by c.cu_ref_no
        "#,
        organisation_id,
        term.as_str(),
        after.map(CuRefNo::as_str),
        limit as i64 + 1,
        MAX_CANDIDATES,
    )
    .fetch_all(db)
    .await
}

/// When the page is not full and there may be more, the row without `created_at` is the last one that was examined.
async fn walk(
    db: &mut PgConnection,
    layout: Layout,
    organisation_id: i64,
    term: Option<&SearchTerm>,
    after: Option<&CuRefNo>,
    limit: usize,
) -> sqlx::Result<Vec<Row>> {
    if layout == Layout::Distributed {
        let rows = sqlx::query_scalar!(
            r#"select customer_list_walk($1, $2, $3, $4, $5) as "rows: Json<Vec<Row>>""#,
            organisation_id,
            term.map(SearchTerm::as_str),
            after.map(CuRefNo::as_str),
            limit as i64 + 1,
            MAX_EXAMINED,
        )
        .fetch_one(db)
        .await?;
        return Ok(rows.map(|Json(rows)| rows).unwrap_or_default());
    }
    sqlx::query_as!(
        Row,
        r#"
        -- Read lazily, in the order of the primary key, by each of the two that use it.
        with list as not materialized (
            select * from customer
            where organisation_id = $1 and cu_ref_no > coalesce($3::text, '') collate "C"
            order by cu_ref_no
            limit $5
        ),
        found as materialized (
            select * from list
            where deleted_at is null and search like (select coalesce(search_pattern($2), '%'))
            order by cu_ref_no
            limit $4
        ),
        examined as materialized (
            select cu_ref_no from list
            where (select count(*) from found) < $4
            order by cu_ref_no
            offset $5 - 1
        )
        select
            cu_ref_no as "cu_ref_no?", email, first_name, last_name, company_name, phone, company_registration_number,
            tax_identification_number, created_at as "created_at?", updated_at as "updated_at?"
        from found
        union all
        select cu_ref_no, null, null, null, null, null, null, null, null, null from examined
        order by 1
        "#,
        organisation_id,
        term.map(SearchTerm::as_str),
        after.map(CuRefNo::as_str),
        limit as i64 + 1,
        MAX_EXAMINED,
    )
    .fetch_all(db)
    .await
}
