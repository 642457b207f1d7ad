//! The pool of requests, and how one connection of it is used.
//!
//! Every use has a client-side timeout, because a broken network may never deliver an error. A connection that timed out is
//! closed.

use std::io;
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::time::timeout;

use super::connect::{self, Session};
use super::error::{is_transient, was_rolled_back};

/// Longer than any statement of a request takes on a healthy database, shorter than the request timeout.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// A statement that waits longer for a lock fails and is retried.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a request waits for a connection before it is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that was returned to the pool more recently is used without a ping: it answered one then. If it broke since,
/// its request fails like those that were in flight.
const PING_IF_IDLE_FOR: Duration = Duration::from_millis(100);
/// How long an idle connection may take to answer a ping. The rest of [`ACQUIRE_TIMEOUT`] is for opening a new one.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// Client-side timeout of one use: a little longer than [`STATEMENT_TIMEOUT`], which the database enforces.
const USE_TIMEOUT: Duration = Duration::from_millis(5500);

/// For reads, and for what operators write.
const SESSION: Session = Session {
    application_name: "customer-match",
    statement_timeout: STATEMENT_TIMEOUT,
    lock_timeout: LOCK_TIMEOUT,
    generic_plans: false,
};

/// In seconds, from an idle connection to [`ACQUIRE_TIMEOUT`].
const ACQUIRE_BUCKETS: [f64; 8] = [0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.0];

/// Creates a pool that opens connections when they are needed; none is open when this returns.
pub fn pool(options: PgConnectOptions, max_connections: u32) -> PgPool {
    let options = options.application_name(SESSION.application_name);
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| Box::pin(connect::configure(connection, SESSION)))
        // sqlx's own test may take the whole acquire timeout, which leaves no time for a new connection.
        .test_before_acquire(false)
        .before_acquire(|connection, metadata| {
            Box::pin(async move {
                let is_fresh = metadata.idle_for < PING_IF_IDLE_FOR;
                Ok(is_fresh || matches!(timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(()))))
            })
        })
        .connect_lazy_with(options)
}

/// The pool of one server, which measures how long requests wait for a connection.
#[derive(Clone)]
pub struct RequestPool {
    pub(crate) connections: PgPool,
    /// Also of acquisitions that failed.
    pub(crate) acquire_duration: Histogram,
}

impl RequestPool {
    pub fn new(connections: PgPool) -> Self {
        Self { connections, acquire_duration: Histogram::new(ACQUIRE_BUCKETS) }
    }

    /// Runs `work` on a connection; all its statements together have the time of one. After an error that would recur on the
    /// same connection, that connection is closed, and the next request opens another, maybe to another database server.
    ///
    /// # Errors
    ///
    /// Those of `work`; no connection became available; `work` timed out, and may or may not have taken effect.
    pub async fn with_connection<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        let started = Instant::now();
        let connection = self.connections.acquire().await;
        self.acquire_duration.observe(started.elapsed().as_secs_f64());
        let mut lent = Lent { connection: connection?, broken: false };
        match timeout(USE_TIMEOUT, work(&mut lent.connection)).await {
            Ok(result) => {
                lent.broken = result.as_ref().err().is_some_and(would_recur);
                result
            }
            Err(elapsed) => {
                lent.broken = true;
                Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, elapsed)))
            }
        }
    }

    /// One round trip.
    pub async fn ping(&self) -> sqlx::Result<()> {
        self.with_connection(async |connection| sqlx::query("select").execute(connection).await.map(drop))
            .await
    }
}

/// Whether the same connection may fail again where another one would not: it is broken, or its server is read-only.
fn would_recur(error: &sqlx::Error) -> bool {
    is_transient(error) && !was_rolled_back(error)
}

/// Returns its connection to the pool when it is dropped, also by cancellation, or closes it.
struct Lent {
    connection: PoolConnection<Postgres>,
    broken: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.broken {
            self.connection.close_on_drop();
        } else {
            // sqlx does the same without a timeout, so a connection that does not answer would be lost to the pool. A cancelled
            // statement runs until the database ends it.
            tokio::spawn(timeout(USE_TIMEOUT, self.connection.return_to_pool()));
        }
    }
}
