//! A writer's connection: its receipt, its fence, and the database's clock.
//!
//! Each connection has a random writer id and numbers its batches. The receipt in the database, updated by each batch, holds the
//! number of the last one that took effect. An attempt whose answer was lost is resolved on a new connection, by fencing the old
//! one: its receipt then says whether the attempt took effect and what it did, and if it did not, it never will.

use std::io;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSeverity};
use tokio::time::{Instant, sleep, timeout};

use super::CLOCK_TOLERANCE;
use crate::db::connect::{self, Session};
use crate::db::write_batch::{self, TimeWindow, WriteAnswer, WriteBatch};

/// What the writers' connections are for.
const SESSION: Session = Session {
    application_name: "customer-match writer",
    statement_timeout: Duration::from_secs(4),
    // Longer than a batch of another writer takes as a rule, far shorter than a client waits.
    lock_timeout: Duration::from_millis(10),
    generic_plans: true,
};
/// How long an attempt may take: a little longer than the database allows a statement.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(4500);
/// How long it may take to connect, or to fence a connection that is left.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The database's clock is read again when it was read longer ago: two clocks may drift apart by 15 ms in that time.
const CLOCK_AGE: Duration = Duration::from_secs(30);
/// Between two attempts to fence a connection that is left.
const FENCE_PAUSE: Duration = Duration::from_millis(100);

/// What an attempt did, and where its time went.
pub(super) struct Attempt {
    pub(super) answer: WriteAnswer,
    pub(super) statement: Duration,
    /// The rest of the round trip.
    pub(super) commit: Duration,
}

/// Why an attempt has no answer.
pub(super) enum AttemptError {
    /// Nothing was written, for certain.
    RolledBack(sqlx::Error),
    /// Whether the batch was written is unknown.
    Lost(LostAttempt, sqlx::Error),
}

/// An attempt that may have taken effect, or may yet.
pub(super) struct LostAttempt {
    writer_id: i64,
    number: i64,
}

/// How a lost attempt was resolved.
pub(super) enum Resolution {
    /// It took effect and did this.
    Written(WriteAnswer),
    /// It did not take effect, and never will.
    NotWritten,
    /// The database could not be asked before the deadline, after which the attempt cannot take effect any more.
    TimedOut,
}

/// Connects when it is needed.
pub(super) struct WriterConnection {
    options: PgConnectOptions,
    open: Option<Open>,
    /// Writers of connections that are left without having been fenced.
    unfenced: Vec<i64>,
}

struct Open {
    connection: PgConnection,
    writer_id: i64,
    /// Of the last batch that took effect.
    number: i64,
    /// The database's clock when it was last read, and when that was.
    clock: DateTime<Utc>,
    read_at: Instant,
}

impl WriterConnection {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, open: None, unfenced: Vec::new() }
    }

    /// The next attempt is made on another connection.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Attempts the batch once. It takes effect before the deadline or not at all.
    pub(super) async fn attempt(
        &mut self,
        batch: &WriteBatch<'_>,
        deadline: Instant,
    ) -> Result<Attempt, AttemptError> {
        let open = bounded(CONNECT_TIMEOUT, self.open()).await.map_err(AttemptError::RolledBack)?;
        let (writer_id, number) = (open.writer_id, open.number + 1);
        let left = deadline.saturating_duration_since(open.read_at);
        let window = TimeWindow {
            // A clock that was set back is found out, unless by less than the time since it was read.
            not_before: open.clock,
            not_after: open.clock + TimeDelta::from_std(left).unwrap_or_default(),
        };
        let sent = Instant::now();
        let attempt = write_batch::execute(&mut open.connection, writer_id, number, window, batch);
        match bounded(ATTEMPT_TIMEOUT, attempt).await {
            Ok((answer, executed)) => {
                open.number = number;
                (open.clock, open.read_at) = (executed.at, Instant::now());
                let commit = open.read_at.duration_since(sent).saturating_sub(executed.took);
                Ok(Attempt { answer, statement: executed.took, commit })
            }
            Err(error) if is_rolled_back(&error) => {
                if write_batch::is_fenced(&error) {
                    // Another connection has a new receipt and reads the clock anew.
                    self.close();
                }
                Err(AttemptError::RolledBack(error))
            }
            Err(error) => {
                self.close();
                self.unfenced.push(writer_id);
                Err(AttemptError::Lost(LostAttempt { writer_id, number }, error))
            }
        }
    }

    /// Finds out what became of an attempt, on another connection.
    pub(super) async fn resolve(&mut self, lost: LostAttempt, deadline: Instant) -> Resolution {
        loop {
            let fence = async {
                // Opening fences the others.
                self.unfenced.retain(|writer_id| *writer_id != lost.writer_id);
                let open = self.open().await?;
                write_batch::fence(&mut open.connection, lost.writer_id).await
            };
            match bounded(CONNECT_TIMEOUT, fence).await {
                Ok(Some((number, answer))) if number == lost.number => return Resolution::Written(answer),
                Ok(_) => return Resolution::NotWritten,
                Err(error) => {
                    self.unfenced.push(lost.writer_id);
                    if !is_rolled_back(&error) {
                        self.close();
                    }
                }
            }
            if Instant::now() >= deadline + CLOCK_TOLERANCE {
                return Resolution::TimedOut;
            }
            sleep(FENCE_PAUSE).await;
        }
    }

    /// A connection whose clock was read a moment ago.
    async fn open(&mut self) -> sqlx::Result<&mut Open> {
        // Taken out, so that a failure or a cancellation leaves no connection in an unknown state.
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let mut connection = connect::connect(&self.options, SESSION).await?;
                for &writer_id in &self.unfenced {
                    write_batch::fence(&mut connection, writer_id).await?;
                }
                self.unfenced.clear();
                let writer_id = rand::random();
                let clock = write_batch::register_writer(&mut connection, writer_id).await?;
                Open { connection, writer_id, number: 0, clock, read_at: Instant::now() }
            }
        };
        if open.read_at.elapsed() > CLOCK_AGE {
            open.clock = write_batch::clock(&mut open.connection).await?;
            open.read_at = Instant::now();
        }
        Ok(self.open.insert(open))
    }
}

/// Bounds what is awaited of the database, which says nothing while a network swallows every packet.
async fn bounded<T>(longest: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    timeout(longest, work)
        .await
        .unwrap_or_else(|elapsed| Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, elapsed))))
}

/// Whether the database says that the statement failed, on a connection that goes on. After a fatal error the commit may have
/// been done.
fn is_rolled_back(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    error.is_some_and(|error| matches!(error.severity(), PgSeverity::Error))
}
