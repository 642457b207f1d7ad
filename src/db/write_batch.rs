//! The function `write_batch`: pending writes of any organisations in one round trip and one commit, and the receipts that make
//! a batch take effect once. What the arrays and letters mean stands in the migration.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::domain::Relation;

/// SQLSTATE: the database's clock stands outside the times between which the batch may be written.
const OUT_OF_TIME: &str = "WB001";
/// SQLSTATE: the writer is fenced, or has no receipt.
const FENCED: &str = "WB002";

/// A batch on its way to the database: one element of each array for each match.
#[derive(Debug, Default)]
pub struct WriteBatch<'a> {
    pub organisation_ids: Vec<i64>,
    pub managers: Vec<&'a str>,
    pub customers: Vec<Option<&'a str>>,
    pub emails: Vec<Option<&'a str>>,
    /// The references of new guest customers, should no customer have the e-mail address.
    pub guests: Vec<Option<String>>,
    pub notices: Vec<Option<&'a str>>,
    /// Positions of the matches whose relation is asked for, counted from 1.
    pub represented: Vec<i32>,
    /// Writes that are not matches, as the function `write_each` takes them.
    pub others: Vec<serde_json::Value>,
    /// Matches are written one after the other, each in a savepoint.
    pub isolated: bool,
}

/// Between which times of the database's clock a batch may be written.
#[derive(Debug, Clone, Copy)]
pub struct TimeWindow {
    pub not_before: DateTime<Utc>,
    pub not_after: DateTime<Utc>,
}

/// The database's clock at the end of a batch's statement, before its commit.
#[derive(Debug, Clone, Copy)]
pub struct Executed {
    pub at: DateTime<Utc>,
    /// Since the statement began.
    pub took: Duration,
}

/// What a batch did.
#[derive(Debug, Default)]
pub struct WriteAnswer {
    /// A letter for each match.
    results: Option<String>,
    /// The reference of each match's customer, if any match names one by e-mail address.
    customers: Option<Vec<Option<String>>>,
    /// In the order of [`WriteBatch::represented`].
    relations: Option<Json<Vec<Option<Relation>>>>,
    /// In the order of [`WriteBatch::others`].
    others: Option<Json<Vec<OtherAnswer>>>,
    /// SQLSTATE and message of each match that failed.
    failures: Option<Vec<Option<String>>>,
}

/// What became of one match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchResult {
    Created,
    Reactivated,
    Updated,
    Unchanged,
    SameCustomer,
    ManagerNotFound,
    CustomerNotFound,
    /// An earlier match of the batch has the same pair, or the customer was deleted between two looks.
    Deferred,
    /// A row that it needs is locked.
    Blocked,
    /// It alone cannot be written.
    Failed,
}

/// What became of one write that is not a match.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherAnswer {
    Done(serde_json::Value),
    Blocked(bool),
    /// SQLSTATE and message.
    Failed(String),
}

impl WriteAnswer {
    /// What became of each match, in their order.
    pub fn match_results(&self) -> impl Iterator<Item = MatchResult> {
        self.results.iter().flat_map(|results| results.bytes()).map(|letter| match letter {
            b'c' => MatchResult::Created,
            b'r' => MatchResult::Reactivated,
            b'u' => MatchResult::Updated,
            b'=' => MatchResult::Unchanged,
            b's' => MatchResult::SameCustomer,
            b'm' => MatchResult::ManagerNotFound,
            b'k' => MatchResult::CustomerNotFound,
            b'd' => MatchResult::Deferred,
            b'b' => MatchResult::Blocked,
            _ => MatchResult::Failed,
        })
    }

    /// The reference of the customer that the match at this index names by e-mail address.
    pub fn customer(&self, index: usize) -> Option<&str> {
        self.customers.as_ref()?.get(index)?.as_deref()
    }

    /// Why the match at this index failed.
    pub fn failure(&self, index: usize) -> &str {
        let failure = self.failures.as_ref().and_then(|failures| failures.get(index)?.as_deref());
        failure.unwrap_or("no reason was given")
    }

    /// The relations that were asked for.
    pub fn take_relations(&mut self) -> Vec<Option<Relation>> {
        self.relations.take().map(|Json(relations)| relations).unwrap_or_default()
    }

    /// What became of the writes that are not matches.
    pub fn take_others(&mut self) -> Vec<OtherAnswer> {
        self.others.take().map(|Json(others)| others).unwrap_or_default()
    }
}

/// Attempts the batch as the writer's `number`th.
pub async fn execute(
    connection: &mut PgConnection,
    writer_id: i64,
    number: i64,
    window: TimeWindow,
    batch: &WriteBatch<'_>,
) -> sqlx::Result<(WriteAnswer, Executed)> {
    let by_email = batch.emails.iter().any(Option::is_some);
    let matches = !batch.managers.is_empty();
    let row = sqlx::query!(
        r#"
        select
            results, customers as "customers: Vec<Option<String>>",
            relations as "relations: Json<Vec<Option<Relation>>>", others as "others: Json<Vec<OtherAnswer>>",
            failures as "failures: Vec<Option<String>>", database_time as "database_time!",
            statement_timestamp() as "began!"
        from write_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        "#,
        writer_id,
        number,
        window.not_before,
        window.not_after,
        batch.isolated && matches,
        matches.then_some(&batch.organisation_ids[..]) as Option<&[i64]>,
        matches.then_some(&batch.managers[..]) as Option<&[&str]>,
        matches.then_some(&batch.customers[..]) as Option<&[Option<&str>]>,
        by_email.then_some(&batch.emails[..]) as Option<&[Option<&str>]>,
        by_email.then_some(&batch.guests[..]) as Option<&[Option<String>]>,
        matches.then_some(&batch.notices[..]) as Option<&[Option<&str>]>,
        (!batch.represented.is_empty()).then_some(&batch.represented[..]) as Option<&[i32]>,
        (!batch.others.is_empty()).then_some(Json(&batch.others)) as Option<Json<&Vec<serde_json::Value>>>,
    )
    .fetch_one(connection)
    .await?;
    let answer = WriteAnswer {
        results: row.results,
        customers: row.customers,
        relations: row.relations,
        others: row.others,
        failures: row.failures,
    };
    // A clock that was set back meanwhile tells nothing.
    let took = (row.database_time - row.began).to_std().unwrap_or_default();
    Ok((answer, Executed { at: row.database_time, took }))
}

/// What the batch would do, without a receipt: for tables that are a copy (see [`super::dry_run`]). Matches only.
pub async fn preview(connection: &mut PgConnection, batch: &WriteBatch<'_>) -> sqlx::Result<WriteAnswer> {
    if batch.isolated {
        return preview_each(connection, batch).await;
    }
    let row = sqlx::query!(
        r#"
        select results, customers as "customers: Vec<Option<String>>"
        from customer_match_write($1, $2, $3, $4, $5, $6, null)
        "#,
        &batch.organisation_ids,
        &batch.managers as &[&str],
        &batch.customers as &[Option<&str>],
        &batch.emails as &[Option<&str>],
        &batch.guests as &[Option<String>],
        &batch.notices as &[Option<&str>],
    )
    .fetch_one(connection)
    .await?;
    Ok(WriteAnswer { results: row.results, customers: row.customers, ..WriteAnswer::default() })
}

async fn preview_each(connection: &mut PgConnection, batch: &WriteBatch<'_>) -> sqlx::Result<WriteAnswer> {
    let row = sqlx::query!(
        r#"
        select
            results, customers as "customers: Vec<Option<String>>", failures as "failures: Vec<Option<String>>"
        from customer_match_write_each($1, $2, $3, $4, $5, $6, null)
        "#,
        &batch.organisation_ids,
        &batch.managers as &[&str],
        &batch.customers as &[Option<&str>],
        &batch.emails as &[Option<&str>],
        &batch.guests as &[Option<String>],
        &batch.notices as &[Option<&str>],
    )
    .fetch_one(connection)
    .await?;
    Ok(WriteAnswer {
        results: row.results,
        customers: row.customers,
        failures: row.failures,
        ..WriteAnswer::default()
    })
}

/// Gives a new writer its receipt, with no batch in it, and returns the database's clock. Receipts of a day ago go: their
/// writers have ended, and without a receipt no attempt takes effect.
pub async fn register_writer(connection: &mut PgConnection, writer_id: i64) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query!("delete from write_receipt where written_at < now() - interval '1 day'")
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar!(
        r#"insert into write_receipt (writer_id, batch_number) values ($1, 0) returning clock_timestamp() as "at!""#,
        writer_id,
    )
    .fetch_one(connection)
    .await
}

/// The database's clock.
pub async fn clock(connection: &mut PgConnection) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(connection).await
}

/// Fences a writer: none of its attempts takes effect any more. Returns the number of its last batch that did, and what that
/// one did; `None` without a receipt. Waits for an attempt that is about to commit. May be called again.
pub async fn fence(
    connection: &mut PgConnection,
    writer_id: i64,
) -> sqlx::Result<Option<(i64, WriteAnswer)>> {
    let receipt = sqlx::query!(
        r#"
        update write_receipt set fenced = true where writer_id = $1
        returning
            batch_number, results, customers as "customers: Vec<Option<String>>",
            relations as "relations: Json<Vec<Option<Relation>>>", others as "others: Json<Vec<OtherAnswer>>",
            failures as "failures: Vec<Option<String>>"
        "#,
        writer_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(receipt.map(|receipt| {
        let answer = WriteAnswer {
            results: receipt.results,
            customers: receipt.customers,
            relations: receipt.relations,
            others: receipt.others,
            failures: receipt.failures,
        };
        (receipt.batch_number, answer)
    }))
}

/// Whether the attempt came too late, too early, or after its writer was fenced. It wrote nothing.
pub fn is_fenced(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(&*code, OUT_OF_TIME | FENCED))
}
