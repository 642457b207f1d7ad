//! The function `write_batch_at`: pending writes of any organisations in one round trip and one commit, and the receipts that make
//! a batch take effect once. What the arrays and letters mean stands in the migration.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::error::{deserialize_caught, is_transient_code};
use crate::domain::Relation;

/// SQLSTATE: the database's clock stands outside the times between which the batch may be written.
const OUT_OF_TIME: &str = "WB001";
/// SQLSTATE: the writer is fenced, or has no receipt.
const FENCED: &str = "WB002";

/// How long a batch waits for a lock: longer than a batch of another writer takes as a rule, far shorter than a client waits.
const LOCK_TIMEOUT: &str = "10ms";
/// The same where a lock was met a moment ago.
const ISOLATED_LOCK_TIMEOUT: &str = "2ms";

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
    /// Writes that follow the matches, one after the other, each in a savepoint, as the function `write_each` takes them.
    pub others: Vec<serde_json::Value>,
    /// A lock was met a moment ago: all writes are among the others.
    pub isolated: bool,
}

/// Which receipt a batch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The organisation on whose shard it is, or [`NOT_DISTRIBUTED`](Self::NOT_DISTRIBUTED).
    pub place: i64,
    /// Random, one for each connection of a writer.
    pub writer_id: i64,
}

impl Receipt {
    /// In the place of an organisation, which are numbered from 1.
    pub const NOT_DISTRIBUTED: i64 = 0;
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
}

/// What became of one match.
#[derive(Debug, Deserialize)]
pub struct MatchAnswer {
    pub result: MatchResult,
    /// Whether a guest was created for it.
    #[serde(default)]
    pub customer_created: bool,
    /// As the match left it, if that was asked for; where its condition does not hold, as it is.
    pub relation: Option<Relation>,
}

/// The letter of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "char")]
pub enum MatchResult {
    Created,
    Reactivated,
    Updated,
    Unchanged,
    SameCustomer,
    ManagerNotFound,
    CustomerNotFound,
    PreconditionFailed,
    /// An earlier match of the batch has the same pair under another name, or the customer was deleted between two looks.
    Deferred,
    Unknown,
}

impl From<char> for MatchResult {
    fn from(letter: char) -> Self {
        match letter {
            'c' => Self::Created,
            'r' => Self::Reactivated,
            'u' => Self::Updated,
            '=' => Self::Unchanged,
            's' => Self::SameCustomer,
            'm' => Self::ManagerNotFound,
            'k' => Self::CustomerNotFound,
            'p' => Self::PreconditionFailed,
            'd' => Self::Deferred,
            _ => Self::Unknown,
        }
    }
}

/// What became of one of the others.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherAnswer {
    Done(serde_json::Value),
    Blocked(bool),
    /// SQLSTATE and message.
    Failed(#[serde(deserialize_with = "deserialize_caught")] String),
}

impl WriteAnswer {
    /// The letter of each match of the arrays, in their order.
    pub fn match_results(&self) -> impl Iterator<Item = MatchResult> {
        self.results.iter().flat_map(|results| results.chars()).map(MatchResult::from)
    }

    /// The reference of the customer that the match at this index names by e-mail address.
    pub fn customer(&self, index: usize) -> Option<&str> {
        self.customers.as_ref()?.get(index)?.as_deref()
    }

    /// The relations that were asked for.
    pub fn take_relations(&mut self) -> Vec<Option<Relation>> {
        self.relations.take().map(|Json(relations)| relations).unwrap_or_default()
    }

    /// What became of the others, in their order. One that failed for a reason that passes, such as another worker of the cluster that
    /// is down, is attempted again by itself like one that met a lock: it was rolled back.
    pub fn take_others(&mut self) -> Vec<OtherAnswer> {
        let mut others = self.others.take().map(|Json(others)| others).unwrap_or_default();
        for answer in &mut others {
            if matches!(answer, OtherAnswer::Failed(reason) if is_transient_code(reason)) {
                *answer = OtherAnswer::Blocked(true);
            }
        }
        others
    }
}

/// Attempts the batch as the writer's `number`th.
pub async fn execute(
    connection: &mut PgConnection,
    receipt: Receipt,
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
            database_time as "database_time!", began as "began!"
        from write_batch_at($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        "#,
        receipt.place,
        receipt.writer_id,
        number,
        window.not_before,
        window.not_after,
        if batch.isolated { ISOLATED_LOCK_TIMEOUT } else { LOCK_TIMEOUT },
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
    };
    // A clock that was set back meanwhile tells nothing.
    let took = (row.database_time - row.began).to_std().unwrap_or_default();
    Ok((answer, Executed { at: row.database_time, took }))
}

/// What the matches of the arrays would do, without a receipt: for tables that are a copy (see [`super::dry_run`]).
pub async fn preview(connection: &mut PgConnection, batch: &WriteBatch<'_>) -> sqlx::Result<WriteAnswer> {
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

/// The same for writes one after the other.
pub async fn preview_each(
    connection: &mut PgConnection,
    writes: &[serde_json::Value],
) -> sqlx::Result<Vec<OtherAnswer>> {
    let answers = sqlx::query_scalar!(
        r#"select write_each($1) as "answers!: Json<Vec<OtherAnswer>>""#,
        Json(writes) as Json<&[serde_json::Value]>,
    )
    .fetch_one(connection)
    .await?;
    Ok(answers.0)
}

/// Gives a new writer its receipt, with no batch in it. Receipts of a day ago go: their writers have ended, and without a receipt no
/// attempt takes effect.
pub async fn create_receipt(connection: &mut PgConnection, receipt: Receipt) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from write_receipt where organisation_id = $1 and written_at < now() - interval '1 day'",
        receipt.place,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into write_receipt (organisation_id, writer_id, batch_number) values ($1, $2, 0)",
        receipt.place,
        receipt.writer_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Erases what receipts have of customers and relations. Those of the last 30 s stay: the clients of older ones have their answers,
/// or were told that there is none in time.
pub(super) async fn erase_old_answers(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        "update write_receipt set relations = null, others = null
         where written_at < statement_timestamp() - interval '30 seconds'
           and num_nonnulls(relations, others) > 0",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The clock of the node that has the receipt.
///
/// # Errors
///
/// There is no such receipt.
pub async fn clock(connection: &mut PgConnection, receipt: Receipt) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(
        r#"select clock_timestamp() as "at!" from write_receipt where organisation_id = $1 and writer_id = $2"#,
        receipt.place,
        receipt.writer_id,
    )
    .fetch_one(connection)
    .await
}

/// Fences a writer: none of its attempts takes effect any more. Returns the number of its last batch that did, and what that
/// one did; `None` without a receipt. Waits for an attempt that is about to commit. May be called again.
pub async fn fence(
    connection: &mut PgConnection,
    receipt: Receipt,
) -> sqlx::Result<Option<(i64, WriteAnswer)>> {
    let receipt = sqlx::query!(
        r#"
        update write_receipt set fenced = true where organisation_id = $1 and writer_id = $2
        returning
            batch_number, results, customers as "customers: Vec<Option<String>>",
            relations as "relations: Json<Vec<Option<Relation>>>", others as "others: Json<Vec<OtherAnswer>>"
        "#,
        receipt.place,
        receipt.writer_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(receipt.map(|receipt| {
        let answer = WriteAnswer {
            results: receipt.results,
            customers: receipt.customers,
            relations: receipt.relations,
            others: receipt.others,
        };
        (receipt.batch_number, answer)
    }))
}

/// Whether the attempt came too late, too early, or after its writer was fenced. It wrote nothing.
pub fn is_fenced(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(&*code, OUT_OF_TIME | FENCED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_attempted_again() {
        let failed = |reason: &str| OtherAnswer::Failed(reason.to_owned());
        let others = vec![
            failed("08006 connection to the remote node failed"),
            failed("23514 a check"),
            OtherAnswer::Blocked(true),
        ];
        let mut answer = WriteAnswer { others: Some(Json(others)), ..WriteAnswer::default() };
        assert!(matches!(
            answer.take_others()[..],
            [OtherAnswer::Blocked(_), OtherAnswer::Failed(_), OtherAnswer::Blocked(_)]
        ));
    }
}
