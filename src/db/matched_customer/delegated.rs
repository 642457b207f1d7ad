//! The same on a distributed database: calls of functions that the coordinator delegates to the worker with the organisation (the
//! migration `delegated_reads`).

use sqlx::PgConnection;
use sqlx::types::Json;

use super::{List, MAX_CANDIDATES, MAX_EXAMINED, MAX_ITEM_COUNT, MAX_PAGE_BYTES, MAX_SHORT_LIST, Row};
use crate::domain::{Cursor, SearchTerm};

/// With the count of the whole list where the page is not all of it.
pub(super) async fn page(
    db: &mut PgConnection,
    list: &List<'_>,
    after: Option<&Cursor>,
    limit: usize,
) -> sqlx::Result<Vec<Row>> {
    let (cu_ref_no, identity) = list.owner.names();
    let rows = sqlx::query_scalar!(
        r#"select matched_customer_page($1, $2, $3, $4, $5, $6, $7, $8) as "rows: Json<Vec<Row>>""#,
        list.organisation_id,
        cu_ref_no,
        identity,
        after.map(|cursor| cursor.matched_at),
        after.map(|cursor| cursor.cu_ref_no.as_str()),
        limit as i64 + 1,
        MAX_ITEM_COUNT,
        MAX_PAGE_BYTES,
    )
    .fetch_one(db)
    .await?;
    Ok(rows.map(|Json(rows)| rows).unwrap_or_default())
}

pub(super) async fn filter_short_list(
    db: &mut PgConnection,
    list: &List<'_>,
    term: &SearchTerm,
    after: Option<&Cursor>,
    limit: usize,
) -> sqlx::Result<Vec<Row>> {
    let (cu_ref_no, identity) = list.owner.names();
    let rows = sqlx::query_scalar!(
        r#"select matched_customer_filter($1, $2, $3, $4, $5, $6, $7, $8, $9) as "rows: Json<Vec<Row>>""#,
        list.organisation_id,
        cu_ref_no,
        identity,
        term.as_str(),
        after.map(|cursor| cursor.matched_at),
        after.map(|cursor| cursor.cu_ref_no.as_str()),
        limit as i64 + 1,
        MAX_SHORT_LIST,
        MAX_PAGE_BYTES,
    )
    .fetch_one(db)
    .await?;
    Ok(rows.map(|Json(rows)| rows).unwrap_or_default())
}

pub(super) async fn look_up_in_index(
    db: &mut PgConnection,
    organisation_id: i64,
    owner: &str,
    term: &SearchTerm,
    after: Option<&Cursor>,
    limit: usize,
) -> sqlx::Result<Vec<Row>> {
    let Json(rows) = sqlx::query_scalar!(
        r#"select matched_customer_look_up($1, $2, $3, $4, $5, $6, $7, $8) as "rows!: Json<Vec<Row>>""#,
        organisation_id,
        owner,
        term.as_str(),
        after.map(|cursor| cursor.matched_at),
        after.map(|cursor| cursor.cu_ref_no.as_str()),
        limit as i64 + 1,
        MAX_CANDIDATES,
        MAX_PAGE_BYTES,
    )
    .fetch_one(db)
    .await?;
    Ok(rows)
}

pub(super) async fn walk(
    db: &mut PgConnection,
    organisation_id: i64,
    owner: &str,
    term: &SearchTerm,
    after: Option<&Cursor>,
    limit: usize,
) -> sqlx::Result<Vec<Row>> {
    let Json(rows) = sqlx::query_scalar!(
        r#"select matched_customer_walk($1, $2, $3, $4, $5, $6, $7, $8) as "rows!: Json<Vec<Row>>""#,
        organisation_id,
        owner,
        term.as_str(),
        after.map(|cursor| cursor.matched_at),
        after.map(|cursor| cursor.cu_ref_no.as_str()),
        limit as i64 + 1,
        MAX_EXAMINED,
        MAX_PAGE_BYTES,
    )
    .fetch_one(db)
    .await?;
    Ok(rows)
}
