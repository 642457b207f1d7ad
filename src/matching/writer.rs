//! A writer: a task with a connection of its own that takes whatever waits and writes it together.

use std::collections::HashSet;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::queue::Queue;
use super::statement::{self, Patience, Verdict};
use super::{Counters, Match, MatchError, Outcome};
use crate::db::retry::is_worth_another;
use crate::db::{customer_has_gone, is_lock_timeout};

/// How long a match may wait for its turn. Together with one last attempt this is less than a request may take.
const MAX_WAIT: Duration = Duration::from_secs(4);
/// How long one attempt may take, to connect included: a little longer than the database allows a statement.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(5500);
/// The longest pause before the second attempt at a batch; it doubles with each, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// A batch that takes longer waits for something, a lock or the disk, and another writer goes on with what has come
/// meanwhile. A batch that waits for nothing takes a tenth of a millisecond for each match.
const STUCK_AFTER: Duration = Duration::from_millis(10);

/// A match that waits, and who waits for it.
pub(super) struct Job {
    pub(super) wanted: Match,
    pub(super) answer: oneshot::Sender<Result<Outcome, MatchError>>,
    pub(super) since: Instant,
}

impl Job {
    fn answer(self, result: Result<Outcome, MatchError>) {
        // Whoever waited may have gone; the match is made all the same.
        let _ = self.answer.send(result);
    }
}

/// Works until the queue is closed and every match in it is answered.
///
/// Of all writers as many as `turns` has permits are at work, as few batches are cheaper than many: another one takes over
/// when a batch is stuck.
pub(super) async fn run(
    options: PgConnectOptions,
    queue: Arc<Queue>,
    turns: Arc<Semaphore>,
    closed: CancellationToken,
    counters: Counters,
) {
    let mut writer = Writer { options, connection: None, written: 0, replan_at: 1, counters };
    let mut turn = None;
    loop {
        let held = match turn.take() {
            Some(held) => held,
            None => match turns.acquire().await {
                Ok(permit) => permit,
                Err(_) => return,
            },
        };
        let Some(mut batch) = queue.take(&closed).await else { return };
        let (jobs, repeated) = first_of_each_pair(std::mem::take(&mut batch.jobs));
        let mut writing = pin!(writer.write_all(jobs));
        let left = match timeout(STUCK_AFTER, &mut writing).await {
            Ok(left) => {
                turn = Some(held);
                left
            }
            Err(_) => {
                drop(held);
                writing.await
            }
        };
        batch.put_back(left.deferred.into_iter().chain(repeated), left.locked);
    }
}

/// What a batch leaves for the next.
#[derive(Default)]
struct Left {
    deferred: Vec<Job>,
    /// Must be alone in it: they wait for a lock.
    locked: Vec<Job>,
}

/// A statement may touch a row only once. Where two matches plainly name the same pair, the second need not be sent to
/// find that out; where one of them names it by an address, the statement does.
fn first_of_each_pair(jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let mut seen = HashSet::with_capacity(jobs.len());
    let first: Vec<bool> =
        jobs.iter().map(|job| seen.insert((job.wanted.organisation_id, job.wanted.named_pair()))).collect();
    let mut first = first.into_iter();
    jobs.into_iter().partition(|_| first.next().unwrap_or_default())
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
    counters: Counters,
}

impl Writer {
    /// Writes and answers the batch, all but what it leaves.
    async fn write_all(&mut self, batch: Vec<Job>) -> Left {
        let mut left = Left::default();
        // What one organisation waits for is not to delay the others.
        let patience = if shared(&batch) { Patience::Short } else { Patience::Long };
        self.write(batch, patience, &mut left).await;
        left
    }

    async fn write(&mut self, mut batch: Vec<Job>, patience: Patience, left: &mut Left) {
        let mut pause = FIRST_PAUSE;
        loop {
            // Nobody waits for these any more, and nothing of them is written.
            batch.retain(|job| !job.answer.is_closed());
            let error = match self.attempt(&batch, patience).await {
                Ok(verdicts) => {
                    settle(batch, verdicts, left);
                    return;
                }
                Err(error) => error,
            };
            let gone = customer_has_gone(&error);
            if gone && !shared(&batch) {
                continue;
            }
            // It may be lost, or in the middle of an answer.
            self.connection = None;
            let locked = is_lock_timeout(&error) && matches!(patience, Patience::Short);
            if locked && !shared(&batch) {
                left.locked.extend(batch);
                return;
            }
            if gone || locked || !is_worth_another(&error) {
                self.write_apart(batch, patience, error, left).await;
                return;
            }
            tracing::warn!(%error, matches = batch.len(), "a batch is tried again");
            self.counters.retries.inc();
            let error = Arc::new(error);
            for late in batch.extract_if(.., |job| job.since.elapsed() > MAX_WAIT) {
                late.answer(Err(MatchError::Database(Arc::clone(&error))));
            }
            tokio::time::sleep(pause.mul_f64(rand::random())).await;
            pause = MAX_PAUSE.min(pause * 2);
        }
    }

    /// Something in the batch cannot be written, or not now: half of it at a time, until that is alone.
    async fn write_apart(
        &mut self,
        mut batch: Vec<Job>,
        patience: Patience,
        error: sqlx::Error,
        left: &mut Left,
    ) {
        if batch.len() > 1 {
            let others = batch.split_off(middle(&batch));
            Box::pin(self.write(batch, patience, left)).await;
            Box::pin(self.write(others, patience, left)).await;
        } else if let Some(job) = batch.pop() {
            job.answer(Err(MatchError::Database(Arc::new(error))));
        }
    }

    /// One statement, within bounds that hold even when the database swallows every octet.
    async fn attempt(&mut self, batch: &[Job], patience: Patience) -> sqlx::Result<Vec<Verdict>> {
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
            let verdicts = statement::execute(connection, &matches, patience).await?;
            self.written += matches.len();
            self.counters.batch_sizes.observe(matches.len() as f64);
            Ok(verdicts)
        };
        timeout(ATTEMPT_TIMEOUT, attempt)
            .await
            .unwrap_or_else(|elapsed| Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, elapsed))))
    }
}

/// Whether the batch is of more than one organisation.
fn shared(batch: &[Job]) -> bool {
    batch.first().map(|job| job.wanted.organisation_id) != batch.last().map(|job| job.wanted.organisation_id)
}

/// Where to divide a batch: between two organisations, if there are two.
fn middle(batch: &[Job]) -> usize {
    let middle = batch.len() / 2;
    let border = |&at: &usize| batch[at - 1].wanted.organisation_id != batch[at].wanted.organisation_id;
    (1..batch.len()).filter(border).min_by_key(|at| at.abs_diff(middle)).unwrap_or(middle)
}

/// Answers what is done and leaves the rest.
fn settle(batch: Vec<Job>, verdicts: Vec<Verdict>, left: &mut Left) {
    for (job, verdict) in batch.into_iter().zip(verdicts) {
        match verdict {
            Verdict::Done(result) => job.answer(result),
            Verdict::Deferred => left.deferred.push(job),
        }
    }
}
