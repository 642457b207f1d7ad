//! The connections of requests, and how one of them is used.
//!
//! - No organisation can take them all ([`FairBudget`]).
//! - Every use has a client-side timeout, because a broken network may never deliver an error.
//! - A connection is kept for its next use only if its work succeeded. One that failed or timed out is closed, and so is one
//!   whose request ended before its statement, as when the client left: the database notices that within
//!   [`CLIENT_CHECK_INTERVAL`] and ends the statement.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::connect::{self, Plans, Session};
use super::layout::Layout;
use crate::fair_budget::FairBudget;
use crate::server_timing::Steps;

/// Longer than any statement of a request takes on a healthy database, shorter than the request timeout.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// A statement that waits longer for a lock fails and is retried.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a request waits for a connection before it is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a request whose connection cannot be opened waits for one that is in use.
const RETURN_TIMEOUT: Duration = Duration::from_millis(250);
/// A connection whose last use is more recent is used without a ping: it answered then. If it broke since, its request fails
/// like those that were in flight.
const PING_IF_IDLE_FOR: Duration = Duration::from_millis(100);
/// How long an idle connection may take to answer a ping. The rest of [`ACQUIRE_TIMEOUT`] is for opening a new one.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// Client-side timeout of one use: a little longer than [`STATEMENT_TIMEOUT`], which the database enforces.
const USE_TIMEOUT: Duration = Duration::from_millis(5500);
/// An idle connection is closed after this time, and any connection after its lifetime: what a session of Postgres caches only
/// grows, and the host name may lead to another server by now.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Of each connection a random part less, so that they do not expire together.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// How often Postgres checks, during a statement, whether the connection was closed.
const CLIENT_CHECK_INTERVAL: &str = "100ms";

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
        self.connections.lock().idle.len()
    }
}

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
        // Without it, on Windows, a statement whose request has ended goes on until its timeout.
        let _ = sqlx::query("select set_config('client_connection_check_interval', $1, false)")
            .persistent(false)
            .bind(CLIENT_CHECK_INTERVAL)
            .execute(&mut connection)
            .await;
        let lifetime = LIFETIME.mul_f64(1.0 - rand::random::<f64>() / 5.0);
        Ok(InUse { connection, expires_at: Instant::now() + lifetime })
    }

    /// Runs `work` for at most this time.
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

    pub(crate) fn close_idle(&self) {
        self.lock().idle.clear();
    }

    fn next_returned(&self) -> oneshot::Receiver<InUse> {
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

fn measure(histogram: &Histogram, step: &'static str, started: Instant) {
    let took = started.elapsed();
    histogram.observe(took.as_secs_f64());
    if let Some(steps) = Steps::of_request() {
        steps.record(step, took);
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
