//! The connections of requests: a pool, and one lent at a time.
//!
//! A database that hangs, or a network that swallows every octet, says nothing: whatever is awaited of it has a bound of our
//! own, and a connection that did not keep it is not used again.

use std::io;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::time::timeout;

use super::connect::{self, Session};
use super::{LOCK_TIMEOUT, is_transient, was_rolled_back};

/// Longer than any statement of ours takes on a healthy database, shorter than a request may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for a connection before it is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an idle connection has to show that it lives. What is left of the above is for a new one.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection may be at work: a little longer than the database allows a statement.
const WORK_TIMEOUT: Duration = Duration::from_millis(5500);

/// What the pool's connections are for: reads, and what operators write.
const SESSION: Session = Session {
    application_name: "customer-match",
    statement_timeout: STATEMENT_TIMEOUT,
    lock_timeout: LOCK_TIMEOUT,
    generic_plans: false,
};

/// From a connection that is idle to one that was not to be had in [`ACQUIRE_TIMEOUT`], in seconds.
const WAIT_BUCKETS: [f64; 8] = [0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.0];

/// How long requests of this process waited for a connection, whether they got one or not.
pub static POOL_WAITS: LazyLock<Histogram> = LazyLock::new(|| Histogram::new(WAIT_BUCKETS));

/// A pool that opens connections as they are needed; nothing is connected yet when this returns.
pub fn pool(options: PgConnectOptions, max_connections: u32) -> PgPool {
    let options = options.application_name(SESSION.application_name);
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| Box::pin(connect::configure(connection, SESSION)))
        // sqlx' own test waits for as long as a connection may be waited for, and leaves no time for a new one.
        .test_before_acquire(false)
        .before_acquire(|connection, _| {
            Box::pin(async { Ok(matches!(timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(())))) })
        })
        .connect_lazy_with(options)
}

/// Works on a connection of the pool for as long as a statement may take, all statements together. A connection that failed
/// in a way that it may fail again is closed, and the next request gets another one, which may lead to another server.
///
/// # Errors
///
/// Those of the work; the pool has no connection to lend; the work took too long and may or may not have been done.
pub async fn run<T>(
    pool: &PgPool,
    work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
) -> sqlx::Result<T> {
    let since = Instant::now();
    let connection = pool.acquire().await;
    POOL_WAITS.observe(since.elapsed().as_secs_f64());
    let mut lent = Lent { connection: connection?, spent: false };
    match timeout(WORK_TIMEOUT, work(&mut lent.connection)).await {
        Ok(result) => {
            lent.spent = result.as_ref().err().is_some_and(may_recur);
            result
        }
        Err(elapsed) => {
            lent.spent = true;
            Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, elapsed)))
        }
    }
}

/// Whether the same connection may fail again where another one would not: it is broken, or its server is read-only.
fn may_recur(error: &sqlx::Error) -> bool {
    is_transient(error) && !was_rolled_back(error)
}

/// A connection that goes back to the pool, also when whoever works on it is cancelled, or is closed.
struct Lent {
    connection: PoolConnection<Postgres>,
    spent: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.spent {
            self.connection.close_on_drop();
        } else {
            // What sqlx does by itself, only that it would wait for ever for a connection that says nothing, and the pool
            // would have one less. A statement that was cancelled goes on until the database ends it.
            tokio::spawn(timeout(WORK_TIMEOUT, self.connection.return_to_pool()));
        }
    }
}
