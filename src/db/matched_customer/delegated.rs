//! The same on a distributed database: calls of functions that the coordinator delegates to the worker with the organisation (the
//! migrations `delegated_reads` and `matched_customer_lists`).

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{
    Beginning, List, MAX_CANDIDATES, MAX_EXAMINED, MAX_ITEM_COUNT, MAX_PAGE_BYTES, MAX_SHORT_LIST, Row,
};
use crate::domain::SearchTerm;

/// What the first statement about a list takes.
pub(crate) struct ListParameters {
    pub(crate) organisation_id: i64,
    cu_ref_no: Option<String>,
    identity: Option<Vec<u8>>,
    term: Option<String>,
    after_time: Option<DateTime<Utc>>,
    after_cu_ref_no: Option<String>,
    most: i64,
}

impl ListParameters {
    pub(crate) fn new(list: &List<'_>) -> Self {
        let (cu_ref_no, identity) = list.owner.names();
        Self {
            organisation_id: list.organisation_id,
            cu_ref_no: cu_ref_no.map(str::to_owned),
            identity,
            term: list.term.map(|term| term.as_str().to_owned()),
            after_time: list.after_time(),
            after_cu_ref_no: list.after_cu_ref_no().map(str::to_owned),
            most: list.most(),
        }
    }
}

/// The rows of one list, in JSON.
pub(crate) struct ListAnswer(Option<String>);

impl ListAnswer {
    pub(crate) fn beginning<'a>(self, list: &List<'a>) -> sqlx::Result<Beginning<'a>> {
        let rows = self.0.map(|json| serde_json::from_str(&json)).transpose();
        let rows = rows.map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Beginning::of(rows.unwrap_or_default(), list))
    }
}

/// Reads the lists of a batch, of which there is at least one, in one call: an answer for each, with the count of the whole list where the
/// page is not all of it. They should be of organisations on one node.
pub(crate) async fn read_batch(
    db: &mut PgConnection,
    lists: &[ListParameters],
    lock_timeout: Duration,
) -> sqlx::Result<Vec<ListAnswer>> {
    let place = lists.first().map(|list| list.organisation_id);
    let column = |value: fn(&ListParameters) -> Option<&str>| lists.iter().map(value).collect::<Vec<_>>();
    let answers = sqlx::query_scalar!(
        r#"select matched_customer_lists($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) as "answers!: Vec<Option<String>>""#,
        place,
        &lists.iter().map(|list| list.organisation_id).collect::<Vec<_>>(),
        &column(|list| list.cu_ref_no.as_deref()) as &[Option<&str>],
        &lists.iter().map(|list| list.identity.as_deref()).collect::<Vec<_>>() as &[Option<&[u8]>],
        &column(|list| list.term.as_deref()) as &[Option<&str>],
        &lists.iter().map(|list| list.after_time).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &column(|list| list.after_cu_ref_no.as_deref()) as &[Option<&str>],
        &lists.iter().map(|list| list.most).collect::<Vec<_>>(),
        MAX_ITEM_COUNT,
        MAX_SHORT_LIST,
        MAX_PAGE_BYTES,
        lock_timeout.as_millis().to_string(),
    )
    .fetch_one(db)
    .await?;
    Ok(answers.into_iter().map(ListAnswer).collect())
}

pub(super) async fn look_up_in_index(
    db: &mut PgConnection,
    list: &List<'_>,
    owner: &str,
    term: &SearchTerm,
) -> sqlx::Result<Vec<Row>> {
    let Json(rows) = sqlx::query_scalar!(
        r#"select matched_customer_look_up($1, $2, $3, $4, $5, $6, $7, $8) as "rows!: Json<Vec<Row>>""#,
        list.organisation_id,
        owner,
        term.as_str(),
        list.after_time(),
        list.after_cu_ref_no(),
        list.most(),
        MAX_CANDIDATES,
        MAX_PAGE_BYTES,
    )
    .fetch_one(db)
    .await?;
    Ok(rows)
}

pub(super) async fn walk(
    db: &mut PgConnection,
    list: &List<'_>,
    owner: &str,
    term: &SearchTerm,
) -> sqlx::Result<Vec<Row>> {
    let Json(rows) = sqlx::query_scalar!(
        r#"select matched_customer_walk($1, $2, $3, $4, $5, $6, $7, $8) as "rows!: Json<Vec<Row>>""#,
        list.organisation_id,
        owner,
        term.as_str(),
        list.after_time(),
        list.after_cu_ref_no(),
        list.most(),
        MAX_EXAMINED,
        MAX_PAGE_BYTES,
    )
    .fetch_one(db)
    .await?;
    Ok(rows)
}
