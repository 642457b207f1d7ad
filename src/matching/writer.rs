//! The writer: one task with one connection, that takes whatever waits and writes it together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::admission::Place;
use super::statement::{self, Verdict};
use super::{Match, MatchError, Outcome};
use crate::db;

/// Matches in one transaction. Batches form by themselves and are as large as what has come in during the last one;
/// this bounds what a failure makes to be done again.
const MAX_BATCH: usize = 256;
/// How long a match may wait for its turn. Together with one last attempt this is less than a request may take.
const MAX_WAIT: Duration = Duration::from_secs(4);
/// How long one attempt may take, to connect included: a little longer than the database allows a statement.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(5500);
/// The longest pause before the second attempt at a batch; it doubles with each, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// A match that waits, and who waits for it.
pub(super) struct Job {
    pub(super) wanted: Match,
    pub(super) answer: oneshot::Sender<Result<Outcome, MatchError>>,
    pub(super) since: Instant,
    /// Given up with the answer.
    pub(super) _place: Place,
}

impl Job {
    fn answer(self, result: Result<Outcome, MatchError>) {
        // Whoever waited may have gone; the match is made all the same.
        let _ = self.answer.send(result);
    }
}

/// Works until every sender is gone and every match is answered.
pub(super) async fn run(options: PgConnectOptions, mut queue: mpsc::UnboundedReceiver<Job>) {
    let mut writer = Writer { options, connection: None };
    let mut batch = Vec::new();
    loop {
        if batch.is_empty() {
            if queue.recv_many(&mut batch, MAX_BATCH).await == 0 {
                return;
            }
        } else {
            // What was deferred comes first: it was here first.
            let room = MAX_BATCH.saturating_sub(batch.len());
            batch.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(room));
        }
        // Nobody waits for these any more, and nothing of them is written.
        batch.retain(|job| !job.answer.is_closed());
        batch = writer.write(batch).await;
    }
}

struct Writer {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Writer {
    /// Writes and answers a batch, all but what must wait for the next.
    async fn write(&mut self, mut batch: Vec<Job>) -> Vec<Job> {
        // In the order of the organisations, in which every server's writer takes its locks; within each, the order of
        // arrival stays.
        batch.sort_by_key(|job| job.wanted.organisation_id);
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.attempt(&batch).await {
                Ok(verdicts) => return settle(batch, verdicts),
                Err(error) => error,
            };
            // A transaction that failed is not for the next attempt, wherever it stopped.
            self.connection = None;
            if !db::is_transient(&error) && !db::violates(&error, db::customer::CU_REF_NO_KEY) {
                return self.write_apart(batch, error).await;
            }
            tracing::warn!(%error, matches = batch.len(), "a batch is tried again");
            // The others keep their place until their own time is up.
            let error = Arc::new(error);
            let (late, rest): (Vec<_>, _) = batch.into_iter().partition(|job| job.since.elapsed() > MAX_WAIT);
            batch = rest;
            late.into_iter().for_each(|job| job.answer(Err(MatchError::Database(Arc::clone(&error)))));
            if batch.is_empty() {
                return batch;
            }
            tokio::time::sleep(pause.mul_f64(rand::random())).await;
            pause = MAX_PAUSE.min(pause * 2);
        }
    }

    /// Something in the batch cannot be written: each match alone, so that its neighbours do not fail with it.
    async fn write_apart(&mut self, batch: Vec<Job>, error: sqlx::Error) -> Vec<Job> {
        match <[Job; 1]>::try_from(batch) {
            Ok([job]) => {
                job.answer(Err(MatchError::Database(Arc::new(error))));
                Vec::new()
            }
            Err(batch) => {
                let mut deferred = Vec::new();
                for job in batch {
                    deferred.extend(Box::pin(self.write(vec![job])).await);
                }
                deferred
            }
        }
    }

    /// [`attempt`], within bounds that hold even when the database swallows every octet.
    async fn attempt(&mut self, batch: &[Job]) -> sqlx::Result<Vec<Verdict>> {
        let attempt = async {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                empty => empty.insert(PgConnection::connect_with(&self.options).await?),
            };
            attempt(connection, batch).await
        };
        tokio::time::timeout(ATTEMPT_TIMEOUT, attempt)
            .await
            .unwrap_or_else(|elapsed| Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, elapsed))))
    }
}

/// One transaction, with a statement for each organisation. The verdicts are in the order of the batch.
async fn attempt(connection: &mut PgConnection, batch: &[Job]) -> sqlx::Result<Vec<Verdict>> {
    let groups = || batch.chunk_by(|a, b| a.wanted.organisation_id == b.wanted.organisation_id);
    if groups().nth(1).is_none() {
        // Its own implicit transaction: one round trip in all.
        return execute(connection, batch).await;
    }
    let mut transaction = connection.begin().await?;
    let mut verdicts = Vec::with_capacity(batch.len());
    for group in groups() {
        verdicts.extend(execute(&mut transaction, group).await?);
    }
    transaction.commit().await?;
    Ok(verdicts)
}

/// The statement for jobs of one organisation.
async fn execute(connection: &mut PgConnection, group: &[Job]) -> sqlx::Result<Vec<Verdict>> {
    let Some(first) = group.first() else { return Ok(Vec::new()) };
    let matches: Vec<_> = group.iter().map(|job| &job.wanted).collect();
    statement::execute(connection, first.wanted.organisation_id, &matches).await
}

/// Answers what is done and returns the rest.
fn settle(batch: Vec<Job>, verdicts: Vec<Verdict>) -> Vec<Job> {
    let mut deferred = Vec::new();
    for (job, verdict) in batch.into_iter().zip(verdicts) {
        match verdict {
            Verdict::Done(result) => job.answer(result),
            Verdict::Deferred => deferred.push(job),
        }
    }
    deferred
}
