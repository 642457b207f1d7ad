//! A writer: a task with a connection of its own that takes a batch of pending writes and writes them together.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::batch::{are_together, reply_all, to_batch};
use super::connection::{AttemptError, Resolution, WriterConnection};
use super::pending_write::{PendingWrite, Unfinished};
use super::queue::Queue;
use super::{Counters, WriteError};
use crate::db;
use crate::db::placement::Placements;
use crate::db::write_batch::{WriteAnswer, is_fenced};

/// A slow batch releases its permit, and another writer goes on with what was pushed meanwhile. A batch that meets no slow
/// disk takes a twentieth of a millisecond for each match.
const SLOW_BATCH_AFTER: Duration = Duration::from_millis(10);
/// So much later for each write that is written by itself: about twice as long as it takes. Two batches with the same pair at the same
/// time would wait for each other.
const SLOW_WRITE_AFTER: Duration = Duration::from_micros(250);
/// The longest pause after a batch that the database could not write; it begins with the first and doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Writer {
    connection: WriterConnection,
    counters: Counters,
    /// After the next batch that the database cannot write.
    pause: Duration,
}

/// What a batch leaves.
#[derive(Default)]
struct Leftovers {
    /// For the next batch.
    next: Vec<PendingWrite>,
    blocked: Vec<PendingWrite>,
}

impl Writer {
    pub(super) fn new(options: PgConnectOptions, placements: Placements, counters: Counters) -> Self {
        Self { connection: WriterConnection::new(options, placements), counters, pause: FIRST_PAUSE }
    }

    /// Writes until the queue is closed and every write in it has a reply. `write_permits` bounds how many writers work at the
    /// same time, since few large batches are cheaper than many small ones.
    pub(super) async fn run(
        mut self,
        queue: Arc<Queue>,
        write_permits: Arc<Semaphore>,
        closed: CancellationToken,
    ) {
        let mut kept = None;
        loop {
            let permit = match kept.take() {
                Some(permit) => permit,
                None => match write_permits.acquire().await {
                    Ok(permit) => permit,
                    Err(_) => return,
                },
            };
            let Some(mut batch) = queue.take(&closed).await else { return };
            batch.waits.iter().for_each(|wait| self.counters.queue_wait.observe(wait.as_secs_f64()));
            let writes = std::mem::take(&mut batch.writes);
            let together = are_together(&writes, batch.isolated);
            let slow_after = slow_after(&together);
            let mut writing = pin!(self.write(writes, together, batch.isolated));
            let left = match timeout(slow_after, &mut writing).await {
                Ok(left) => {
                    kept = Some(permit);
                    left
                }
                Err(_) => {
                    drop(permit);
                    writing.await
                }
            };
            batch.finish(&queue, left.next, left.blocked);
        }
    }

    /// Writes the batch once and replies, and again one write at a time if one of them keeps the others from being written.
    async fn write(
        &mut self,
        writes: Vec<PendingWrite>,
        mut together: Vec<bool>,
        mut isolated: bool,
    ) -> Leftovers {
        let Some(deadline) = writes.iter().map(PendingWrite::deadline).min() else {
            return Leftovers::default();
        };
        let organisation_id = writes[0].organisation_id;
        loop {
            let batch = to_batch(&writes, &together, isolated);
            let (error, lost) = match self.connection.attempt(organisation_id, &batch, deadline).await {
                Ok(attempt) => {
                    self.pause = FIRST_PAUSE;
                    self.counters.statement.observe(attempt.statement.as_secs_f64());
                    self.counters.commit.observe(attempt.commit.as_secs_f64());
                    for write in &writes {
                        write.record("statement", attempt.statement);
                        write.record("commit", attempt.commit);
                    }
                    let guests = batch.guests;
                    return self.reply(writes, &together, attempt.answer, &guests);
                }
                Err(AttemptError::RolledBack(error)) => (error, None),
                Err(AttemptError::Lost(lost, error)) => (error, Some(lost)),
            };
            if let Some(lost) = lost {
                tracing::warn!(%error, writes = writes.len(), "the answer to a batch was lost");
                self.counters.lost_answers.inc();
                return match self.connection.resolve(lost, deadline).await {
                    Resolution::Written(answer) => {
                        let guests = batch.guests;
                        self.reply(writes, &together, answer, &guests)
                    }
                    Resolution::NotWritten => Leftovers { next: writes, blocked: Vec::new() },
                    Resolution::TimedOut => {
                        for write in writes {
                            write.fail(WriteError::TimedOut);
                        }
                        Leftovers::default()
                    }
                };
            }
            if !isolated && db::is_about_one_row(&error) {
                self.counters.isolated.inc();
                isolated = true;
                together = are_together(&writes, isolated);
                continue;
            }
            if is_fenced(&error) || db::is_unavailable(&error) {
                tracing::warn!(%error, writes = writes.len(), "retrying batch");
                self.counters.retries.inc();
                // The server may have become read-only, or another one lead the address.
                self.connection.close();
                if !is_fenced(&error) {
                    sleep(self.pause.mul_f64(rand::random())).await;
                    self.pause = MAX_PAUSE.min(self.pause * 2);
                }
                return Leftovers { next: writes, blocked: Vec::new() };
            }
            let error = Arc::new(error);
            for write in writes {
                write.fail(WriteError::Database(Arc::clone(&error)));
            }
            return Leftovers::default();
        }
    }

    /// Replies to what a commit holds, and counts it. Writes that met a lock are no part of it.
    fn reply(
        &self,
        writes: Vec<PendingWrite>,
        together: &[bool],
        answer: WriteAnswer,
        guests: &[Option<String>],
    ) -> Leftovers {
        let attempted = writes.len();
        let unfinished = reply_all(writes, together, answer, guests);
        let finished = attempted - unfinished.len();
        if finished > 0 {
            self.counters.batch_sizes.observe(finished as f64);
        }
        unfinished.into_iter().collect()
    }
}

fn slow_after(together: &[bool]) -> Duration {
    together.iter().filter(|together| !**together).fold(SLOW_BATCH_AFTER, |after, _| after + SLOW_WRITE_AFTER)
}

impl FromIterator<Unfinished> for Leftovers {
    fn from_iter<I: IntoIterator<Item = Unfinished>>(unfinished: I) -> Self {
        let mut left = Self::default();
        for write in unfinished {
            match write {
                Unfinished::Deferred(write) => left.next.push(write),
                Unfinished::Blocked(write) => left.blocked.push(write),
            }
        }
        left
    }
}
