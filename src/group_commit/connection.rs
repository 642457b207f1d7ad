//! A writer's connection: its receipt, its fence, and the database's clock.
//!
//! Each connection has a random writer id and numbers its batches. The receipt in the database, updated by each batch, holds the
//! number of the last one that took effect. An attempt whose answer was lost is resolved on a new connection, by fencing the old
//! one: its receipt then says whether the attempt took effect and what it did, and if it did not, it never will.
//!
//! On a cluster the receipt is on the shard of one organisation, on the node that its batches are for. The connection itself goes
//! to the coordinator, and the clock is the node's.

use std::io;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSeverity};
use tokio::time::{Instant, sleep, timeout};

use super::CLOCK_TOLERANCE;
use crate::db::Layout;
use crate::db::connect::{self, Plans, Session};
use crate::db::placement::Placements;
use crate::db::write_batch::{self, Receipt, TimeWindow, WriteAnswer, WriteBatch};

/// What the writers' connections are for.
const SESSION: Session = Session {
    application_name: "customer-match writer",
    statement_timeout: Duration::from_secs(4),
    // Longer than a batch of another writer takes as a rule, far shorter than a client waits.
    lock_timeout: Duration::from_millis(10),
    plans: Plans::Generic,
};
/// How long an attempt may take: a little longer than the database allows a statement.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(4500);
/// How long it may take to connect, or to fence a connection that is left.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The database's clock is read again when it was read longer ago: two clocks may drift apart by 15 ms in that time.
const CLOCK_AGE: Duration = Duration::from_secs(30);
/// SQLSTATEs, or their classes, of what a worker says about a write: values, constraints, rights, locks, a read-only database, and
/// the batch itself.
const OF_THE_WRITE: [&str; 6] = ["22", "23", "25006", "42", "55P03", "WB"];
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
    receipt: Receipt,
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
    placements: Placements,
    open: Option<Open>,
    /// Receipts of connections that are left without having been fenced.
    unfenced: Vec<Receipt>,
}

struct Open {
    connection: PgConnection,
    receipt: Receipt,
    /// Of the last batch that took effect.
    number: i64,
    /// The database's clock when it was last read, and when that was.
    clock: DateTime<Utc>,
    read_at: Instant,
}

impl WriterConnection {
    pub(super) fn new(options: PgConnectOptions, placements: Placements) -> Self {
        Self { options, placements, open: None, unfenced: Vec::new() }
    }

    /// The next attempt is made on another connection.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Attempts the batch once. It takes effect before the deadline or not at all. The organisation is one of the batch.
    pub(super) async fn attempt(
        &mut self,
        organisation_id: i64,
        batch: &WriteBatch<'_>,
        deadline: Instant,
    ) -> Result<Attempt, AttemptError> {
        let layout = self.placements.layout();
        let place = match layout {
            Layout::Single => Receipt::NOT_DISTRIBUTED,
            Layout::Distributed => organisation_id,
        };
        let open = bounded(CONNECT_TIMEOUT, self.open(place)).await.map_err(AttemptError::RolledBack)?;
        let (receipt, number) = (open.receipt, open.number + 1);
        let left = deadline.saturating_duration_since(open.read_at);
        let window = TimeWindow {
            // A clock that was set back is found out, unless by less than the time since it was read.
            not_before: open.clock,
            not_after: open.clock + TimeDelta::from_std(left).unwrap_or_default(),
        };
        let sent = Instant::now();
        let attempt = write_batch::execute(&mut open.connection, receipt, number, window, batch);
        match bounded(ATTEMPT_TIMEOUT, attempt).await {
            Ok((answer, executed)) => {
                open.number = number;
                (open.clock, open.read_at) = (executed.at, Instant::now());
                let commit = open.read_at.duration_since(sent).saturating_sub(executed.took);
                Ok(Attempt { answer, statement: executed.took, commit })
            }
            Err(error) if is_rolled_back(&error, layout) => {
                if write_batch::is_fenced(&error) {
                    // Another connection has a new receipt and reads the clock anew.
                    self.close();
                }
                Err(AttemptError::RolledBack(error))
            }
            Err(error) => {
                self.close();
                self.unfenced.push(receipt);
                Err(AttemptError::Lost(LostAttempt { receipt, number }, error))
            }
        }
    }

    /// Finds out what became of an attempt, on another connection.
    pub(super) async fn resolve(&mut self, lost: LostAttempt, deadline: Instant) -> Resolution {
        loop {
            let fence = async {
                // Opening fences the others.
                self.unfenced.retain(|receipt| *receipt != lost.receipt);
                let open = self.open(lost.receipt.place).await?;
                write_batch::fence(&mut open.connection, lost.receipt).await
            };
            match bounded(CONNECT_TIMEOUT, fence).await {
                Ok(Some((number, answer))) if number == lost.number => return Resolution::Written(answer),
                Ok(_) => return Resolution::NotWritten,
                Err(error) => {
                    self.unfenced.push(lost.receipt);
                    if !is_rolled_back(&error, self.placements.layout()) {
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

    /// A connection whose clock was read a moment ago, and whose receipt is on the node of the place.
    async fn open(&mut self, place: i64) -> sqlx::Result<&mut Open> {
        let is_on_node =
            |open: &Open| self.placements.known(open.receipt.place) == self.placements.known(place);
        // Taken out, so that a failure or a cancellation leaves no connection in an unknown state.
        let mut open = match self.open.take().filter(is_on_node) {
            Some(open) => open,
            None => {
                let session = SESSION.on(self.placements.layout());
                let mut connection = connect::connect(&self.options, session).await?;
                for &receipt in &self.unfenced {
                    write_batch::fence(&mut connection, receipt).await?;
                }
                self.unfenced.clear();
                let receipt = Receipt { place, writer_id: rand::random() };
                write_batch::create_receipt(&mut connection, receipt).await?;
                let clock = write_batch::clock(&mut connection, receipt).await?;
                Open { connection, receipt, number: 0, clock, read_at: Instant::now() }
            }
        };
        if open.read_at.elapsed() > CLOCK_AGE {
            open.clock = write_batch::clock(&mut open.connection, open.receipt).await?;
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
/// been done. So it may after an error of a coordinator, which loses its connection to a worker or cancels it as this one may lose
/// its own; an error of the write itself comes from the worker.
fn is_rolled_back(error: &sqlx::Error, layout: Layout) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    error.is_some_and(|error| {
        matches!(error.severity(), PgSeverity::Error)
            && (layout == Layout::Single || OF_THE_WRITE.iter().any(|class| error.code().starts_with(class)))
    })
}
