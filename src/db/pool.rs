//! The connections of requests.
//!
//! - No organisation can take them all ([`FairBudget`]).
//! - Every use has a client-side timeout, because a broken network may never deliver an error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use super::connect::{self, Plans, Session};
use super::connections::{Connections, InUse};
use super::layout::Layout;
use crate::fair_budget::FairBudget;
use crate::server_timing::Steps;

/// Longer than any statement of a request takes on a healthy database, shorter than the request timeout.
pub(crate) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// A statement that waits longer for a lock fails and is retried.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a request waits for a connection before it is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a request whose connection cannot be opened waits for one that is in use.
const RETURN_TIMEOUT: Duration = Duration::from_millis(250);
/// Client-side timeout of one use: a little longer than [`STATEMENT_TIMEOUT`], which the database enforces.
pub(crate) const USE_TIMEOUT: Duration = Duration::from_millis(5500);

/// For reads, and for what operators write.
const SESSION: Session = Session {
    application_name: "customer-match",
    statement_timeout: STATEMENT_TIMEOUT,
    lock_timeout: LOCK_TIMEOUT,
    plans: Plans::Auto,
};

/// In seconds, from an idle connection to [`ACQUIRE_TIMEOUT`].
const ACQUIRE_BUCKETS: [f64; 8] = [0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.0];
/// In seconds, from one short statement to [`USE_TIMEOUT`].
const USE_BUCKETS: [f64; 10] = [0.0002, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 2.5, 5.5];

/// Creates a pool for operators' commands. It opens connections when they are needed; none is open when this returns.
pub fn pool(options: PgConnectOptions, max_connections: u32) -> PgPool {
    let options = options.application_name(SESSION.application_name);
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| Box::pin(connect::configure(connection, SESSION)))
        .connect_lazy_with(options)
}

/// The connections of the requests of one server. sqlx's pool is not used for them, because it pings each connection that
/// comes back, which doubles the round trips of a short read.
pub struct RequestPool {
    connections: Connections,
    layout: Layout,
    permits: Arc<FairBudget<i64>>,
    /// Also of acquisitions that failed.
    pub(crate) acquire_duration: Histogram,
    /// Also of uses that failed.
    pub(crate) use_duration: Histogram,
}

impl RequestPool {
    /// In the place of an organisation, which are numbered from 1: what the server needs for itself.
    pub(crate) const SERVER: i64 = 0;

    /// No connection is open when this returns.
    pub fn new(options: PgConnectOptions, layout: Layout, max_connections: u32) -> Self {
        Self {
            connections: Connections::new(options, SESSION.on(layout)),
            layout,
            permits: FairBudget::new(max_connections.into()),
            acquire_duration: Histogram::new(ACQUIRE_BUCKETS),
            use_duration: Histogram::new(USE_BUCKETS),
        }
    }

    /// Runs `work` for an organisation on a connection; all its statements together have the time of one.
    ///
    /// # Errors
    ///
    /// Those of `work`; no connection became available; `work` timed out, and may or may not have taken effect.
    pub async fn with_connection<T>(
        &self,
        organisation_id: i64,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        let started = Instant::now();
        let acquire = async {
            let permit = self.permits.take_one(organisation_id).await;
            Ok((permit, self.acquire().await?))
        };
        let acquired = timeout(ACQUIRE_TIMEOUT, acquire).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        measure(&self.acquire_duration, "pool", started);
        let (_permit, connection) = acquired?;
        let started = Instant::now();
        let result = self.connections.run(connection, USE_TIMEOUT, work).await;
        measure(&self.use_duration, "read", started);
        result
    }

    /// If no further connection can be opened, as when Postgres has no more, one that is in use may come back soon.
    async fn acquire(&self) -> sqlx::Result<InUse> {
        match self.connections.acquire().await {
            Err(error) if self.permits.held() > 1 => {
                let returned = timeout(RETURN_TIMEOUT, self.connections.next_returned()).await;
                returned.ok().and_then(Result::ok).ok_or(error)
            }
            result => result,
        }
    }

    /// One round trip for an organisation.
    pub async fn ping(&self, organisation_id: i64) -> sqlx::Result<()> {
        self.with_connection(organisation_id, async |connection| connection.ping().await).await
    }

    /// Where the tables of tenants are, for statements that are others there.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn max_connections(&self) -> u64 {
        self.permits.capacity()
    }

    pub(crate) fn connections_in_use(&self) -> u64 {
        self.permits.held()
    }

    pub(crate) fn idle_connections(&self) -> usize {
        self.connections.idle()
    }
}

fn measure(histogram: &Histogram, step: &'static str, started: Instant) {
    let took = started.elapsed();
    histogram.observe(took.as_secs_f64());
    if let Some(steps) = Steps::of_request() {
        steps.record(step, took);
    }
}
