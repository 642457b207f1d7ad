//! Connections for one purpose, and how one of them is used.
//!
//! A connection is kept for its next use only if its work succeeded. One that failed or timed out is closed, and so is one
//! whose request ended before its statement, as when the client left: the database notices that within
//! [`CLIENT_CHECK_INTERVAL`] and ends the statement.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::connect::{self, Session};

/// A connection whose last use is more recent is used without a ping: it answered then. If it broke since, its request fails
/// like those that were in flight.
const PING_IF_IDLE_FOR: Duration = Duration::from_millis(100);
/// How long an idle connection may take to answer a ping. The rest of the time that the caller gives is for opening a new one.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// An idle connection is closed after this time, and any connection after its lifetime: what a session of Postgres caches only
/// grows, and the host name may lead to another server by now.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Of each connection a random part less, so that they do not expire together.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// How often Postgres checks, during a statement, whether the connection was closed.
const CLIENT_CHECK_INTERVAL: &str = "100ms";

/// Connections for one purpose, opened when they are needed and kept for their next use: as many as are used at the same time.
pub(crate) struct Connections {
    options: PgConnectOptions,
    session: Session,
    not_in_use: Mutex<NotInUse>,
}

#[derive(Default)]
struct NotInUse {
    /// The last one is the one that was used last, so that those that are not needed become old.
    idle: Vec<Idle>,
    /// For connections that come back.
    waiting: VecDeque<oneshot::Sender<InUse>>,
}

/// A connection in use; closed when dropped.
pub(crate) struct InUse {
    connection: PgConnection,
    expires_at: Instant,
}

struct Idle {
    connection: InUse,
    since: Instant,
}

impl InUse {
    async fn answers(&mut self) -> bool {
        matches!(timeout(PING_TIMEOUT, self.connection.ping()).await, Ok(Ok(())))
    }
}

impl Connections {
    pub(crate) fn new(options: PgConnectOptions, session: Session) -> Self {
        Self { options, session, not_in_use: Mutex::default() }
    }

    /// Runs `work` on a connection. It and what comes before it take at most this time.
    pub(crate) async fn with_connection<T>(
        &self,
        longest: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        let work = async {
            let connection = self.acquire().await?;
            self.run(connection, longest, work).await
        };
        bounded(longest, work).await
    }

    /// An idle connection that answers, or a new one. The caller bounds the time.
    pub(crate) async fn acquire(&self) -> sqlx::Result<InUse> {
        while let Some(Idle { mut connection, since }) = self.take_idle() {
            if since.elapsed() < PING_IF_IDLE_FOR || connection.answers().await {
                return Ok(connection);
            }
            // The others were idle for longer.
            self.close_idle();
        }
        let mut connection = connect::connect(&self.options, self.session).await?;
        // Without it, on Windows, a statement whose request has ended continues until its timeout.
        let _ = sqlx::query("select set_config('client_connection_check_interval', $1, false)")
            .persistent(false)
            .bind(CLIENT_CHECK_INTERVAL)
            .execute(&mut connection)
            .await;
        let lifetime = LIFETIME.mul_f64(1.0 - rand::random::<f64>() / 5.0);
        Ok(InUse { connection, expires_at: Instant::now() + lifetime })
    }

    /// Runs `work` on this connection for at most this time.
    pub(crate) async fn run<T>(
        &self,
        mut connection: InUse,
        longest: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        let result = bounded(longest, work(&mut connection.connection)).await?;
        if Instant::now() < connection.expires_at {
            self.lock().put(connection);
        }
        Ok(result)
    }

    pub(super) fn idle(&self) -> usize {
        self.lock().idle.len()
    }

    pub(crate) fn close_idle(&self) {
        self.lock().idle.clear();
    }

    pub(super) fn next_returned(&self) -> oneshot::Receiver<InUse> {
        let (sender, receiver) = oneshot::channel();
        let mut not_in_use = self.lock();
        not_in_use.waiting.retain(|waiting| !waiting.is_closed());
        not_in_use.waiting.push_back(sender);
        receiver
    }

    fn take_idle(&self) -> Option<Idle> {
        self.lock().idle.pop()
    }

    fn lock(&self) -> MutexGuard<'_, NotInUse> {
        // Nothing panics while it is locked.
        self.not_in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NotInUse {
    fn put(&mut self, mut connection: InUse) {
        while let Some(waiting) = self.waiting.pop_front() {
            match waiting.send(connection) {
                Ok(()) => return,
                // It waits no longer.
                Err(returned) => connection = returned,
            }
        }
        let since = Instant::now();
        self.idle.retain(|idle| since.saturating_duration_since(idle.since) < IDLE_TIMEOUT);
        self.idle.push(Idle { connection, since });
    }
}

/// Bounds what is awaited of the database, which says nothing while a network swallows every packet.
pub(crate) async fn bounded<T>(
    longest: Duration,
    work: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    let timed_out = |elapsed| sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, elapsed));
    timeout(longest, work).await.unwrap_or_else(|elapsed| Err(timed_out(elapsed)))
}

/// How many batches are sent to a node at the same time: one for each two processors, and not more than `most`. On two processors, a second
/// one made batches half as large and matches more expensive by a quarter (docs/performance.md).
pub(crate) fn concurrent_batches(most: usize) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    (processors / 2).clamp(1, most)
}
