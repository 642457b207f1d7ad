//! A writer: a task with a connection of its own, that takes whatever waits and writes it together, one statement for each
//! organisation.

use std::collections::HashSet;
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
use crate::db::retry::is_worth_another;

/// Matches in one statement. Batches form by themselves and are as large as what has come in during the last one; this
/// bounds how long an organisation waits for another's.
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
    let mut writer = Writer { options, connection: None, written: 0, replan_at: 1 };
    let mut waiting = Vec::new();
    loop {
        // All that waits, of which there is no more than the waiting room holds: whatever is deferred, the others'
        // matches are in the next round.
        if waiting.is_empty() && queue.recv_many(&mut waiting, usize::MAX).await == 0 {
            return;
        }
        waiting.extend(std::iter::from_fn(|| queue.try_recv().ok()));
        waiting.sort_by_key(|job| (job.wanted.organisation_id, job.since));
        let mut deferred = Vec::new();
        while let Some(first) = waiting.first() {
            let organisation_id = first.wanted.organisation_id;
            let others = waiting.partition_point(|job| job.wanted.organisation_id <= organisation_id);
            let rest = waiting.split_off(others);
            let (mut batch, repeated) = first_of_each_pair(std::mem::replace(&mut waiting, rest));
            deferred.extend(repeated);
            deferred.extend(batch.split_off(batch.len().min(MAX_BATCH)));
            deferred.extend(writer.write(organisation_id, batch).await);
        }
        waiting = deferred;
    }
}

/// A statement may touch a row only once. Where two matches plainly name the same pair, the second need not be sent to
/// find that out; where one of them names it by an address, the statement does.
fn first_of_each_pair(jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let mut seen = HashSet::new();
    jobs.into_iter().partition(|job| seen.insert(job.wanted.named_pair()))
}

struct Writer {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    /// Matches that have been written.
    written: usize,
    /// The statement is planned anew when so many have been. A plan is made for the size that the tables have at that
    /// moment: that of an empty database would read a whole organisation for each customer once it has some, until
    /// Postgres analyses the tables. So each plan serves until what was written has doubled, which is rare ever after.
    replan_at: usize,
}

impl Writer {
    /// Writes and answers the batch of an organisation, all but what must wait for the next.
    async fn write(&mut self, organisation_id: i64, mut batch: Vec<Job>) -> Vec<Job> {
        let mut pause = FIRST_PAUSE;
        loop {
            // Nobody waits for these any more, and nothing of them is written.
            batch.retain(|job| !job.answer.is_closed());
            let error = match self.attempt(organisation_id, &batch).await {
                Ok(verdicts) => return settle(batch, verdicts),
                Err(error) => error,
            };
            // It may be lost, or in the middle of an answer.
            self.connection = None;
            if !is_worth_another(&error) {
                return self.write_apart(organisation_id, batch, error).await;
            }
            tracing::warn!(%error, matches = batch.len(), "a batch is tried again");
            let error = Arc::new(error);
            for late in batch.extract_if(.., |job| job.since.elapsed() > MAX_WAIT) {
                late.answer(Err(MatchError::Database(Arc::clone(&error))));
            }
            tokio::time::sleep(pause.mul_f64(rand::random())).await;
            pause = MAX_PAUSE.min(pause * 2);
        }
    }

    /// Something in the batch cannot be written: each match alone, so that its neighbours do not fail with it.
    async fn write_apart(&mut self, organisation_id: i64, batch: Vec<Job>, error: sqlx::Error) -> Vec<Job> {
        match <[Job; 1]>::try_from(batch) {
            Ok([job]) => {
                job.answer(Err(MatchError::Database(Arc::new(error))));
                Vec::new()
            }
            Err(batch) => {
                let mut deferred = Vec::new();
                for job in batch {
                    deferred.extend(Box::pin(self.write(organisation_id, vec![job])).await);
                }
                deferred
            }
        }
    }

    /// One statement, within bounds that hold even when the database swallows every octet.
    async fn attempt(&mut self, organisation_id: i64, batch: &[Job]) -> sqlx::Result<Vec<Verdict>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let attempt = async {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                empty => empty.insert(PgConnection::connect_with(&self.options).await?),
            };
            if self.written >= self.replan_at {
                sqlx::query("discard plans").execute(&mut *connection).await?;
                self.replan_at = 2 * self.written;
            }
            let matches: Vec<_> = batch.iter().map(|job| &job.wanted).collect();
            let verdicts = statement::execute(connection, organisation_id, &matches).await?;
            self.written += matches.len();
            Ok(verdicts)
        };
        tokio::time::timeout(ATTEMPT_TIMEOUT, attempt)
            .await
            .unwrap_or_else(|elapsed| Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, elapsed))))
    }
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
