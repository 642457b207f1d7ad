//! A whole server: [`App::start`] starts the background tasks that its endpoints rely on, [`App::serve`] drives its
//! listeners until it is told to stop, then stops everything in order.
//!
//! This is the only place that knows both the API ([`crate::http`]) and what drives connections ([`crate::server`]).

use std::path::Path;
use std::sync::{Arc, OnceLock};

use axum::Router;
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::api_keys::{ApiKeyCache, RefreshPolicy};
use crate::change_renumbering::ChangeRenumbering;
use crate::change_watcher::ChangeWatcher;
use crate::config::Config;
use crate::db::placement::Placements;
use crate::db::{Layout, Readiness, RequestPool};
use crate::fair_budget::FairBudget;
use crate::group_commit::GroupCommit;
use crate::http::{self, AppState, ConcurrencyLimit, IdentityAttempts};
use crate::list_batches::ListBatches;
use crate::maintenance::Maintenance;
use crate::metrics::ConnectionMetrics;
use crate::rate_limit::ClientWindows;
use crate::read_replica::ReadReplica;
use crate::server::{self, Certificate};

/// Bodies that are being received, with the headers of their requests. One client gets half of it at most: a thousand requests
/// at the same time.
const BODY_BYTES: u64 = 64 << 20;
/// Answers that have not been sent. One client gets half of it at most: thirty of the largest.
const ANSWER_BYTES: u64 = 64 << 20;
/// Lines of streams that have begun and not finished. One organisation alone has half of it: two batches of 40, one being written and one
/// being formed, are as cheap a match as larger ones, and a single call of another organisation waits for no longer ones.
const STREAM_WINDOW: u64 = 160;

/// The endpoints and their background tasks.
pub struct App {
    state: Arc<AppState>,
}

impl App {
    /// Starts the writers, the cache of API keys, the watcher of changes and the maintenance. In demo mode the documentation's sample key is accepted.
    /// Once `shutdown` is cancelled, `/readyz` reports that the server is not ready.
    pub fn start(
        database: PgConnectOptions,
        layout: Layout,
        config: &Config,
        demo: bool,
        shutdown: CancellationToken,
    ) -> Self {
        let pool = Arc::new(RequestPool::new(database.clone(), layout, config.pool.max_connections));
        let placements = Placements::new(&database, layout);
        let policy = RefreshPolicy::default();
        let identity_attempts = IdentityAttempts::new(Arc::clone(&pool), config.rate_limits.invalid_keys);
        let state = AppState {
            group_commit: GroupCommit::start(&database, placements.clone()),
            keys: ApiKeyCache::start(database.clone(), Arc::clone(&pool), config, policy),
            list_batches: ListBatches::new(database.clone(), placements.clone()),
            changes: ChangeWatcher::start(database.clone(), placements),
            renumbering: ChangeRenumbering::start(database.clone(), layout),
            maintenance: Maintenance::start(database.clone()),
            readiness: Readiness::new(database),
            pool,
            replica: OnceLock::new(),
            publishable_calls: ClientWindows::default(),
            identity_attempts,
            demo,
            trusted_proxies: config.trusted_proxies.clone(),
            access_log: config.access_log,
            server_timing: config.server_timing,
            cors: config.cors.clone(),
            cursor_key: OnceCell::new(),
            concurrency_limit: ConcurrencyLimit::new(config.limits.requests),
            body_budget: FairBudget::new(BODY_BYTES),
            answer_budget: FairBudget::new(ANSWER_BYTES),
            stream_window: FairBudget::new(STREAM_WINDOW),
            metrics: Arc::default(),
            timeouts: config.timeouts,
            shutdown,
        };
        Self { state: Arc::new(state) }
    }

    /// Metrics tell how full the disk of this directory is: that of the private Postgres.
    #[must_use]
    pub fn on_disk_of(self, data_dir: &Path) -> Self {
        let _ = self.state.metrics.data_dir.set(data_dir.to_owned());
        self
    }

    /// A standby of the database answers reads in its place.
    #[must_use]
    pub fn with_replica(self, primary: PgConnectOptions, standby: PgConnectOptions, config: &Config) -> Self {
        let replica =
            ReadReplica::start(primary, standby, config.pool.max_connections, config.replica.max_lag);
        let _ = self.state.replica.set(replica);
        self
    }

    /// The API and the pages.
    pub fn router(&self) -> Router {
        http::router(Arc::clone(&self.state))
    }

    /// Probes and metrics, which have a listener of their own: they are for operators, not for clients.
    pub fn admin_router(&self) -> Router {
        http::admin_router(Arc::clone(&self.state))
    }

    /// The counters of the clients' connections.
    pub fn connections(&self) -> ConnectionMetrics {
        self.state.metrics.connections()
    }

    /// Serves until `shutdown` is cancelled. Then, in this order: requests in flight are answered, the admin listener ends, the
    /// rate limits' unused quota is given back.
    ///
    /// # Errors
    ///
    /// The admin listener panicked.
    pub async fn serve(
        self,
        listener: TcpListener,
        certificate: Option<Certificate>,
        admin_listener: Option<TcpListener>,
        config: &Config,
    ) -> anyhow::Result<()> {
        // Until the requests in flight are answered, probes and metrics tell how far that is.
        let drained = CancellationToken::new();
        let admin = admin_listener.map(|listener| {
            let config = Config { limits: config.limits.of_admin_listener(), ..config.clone() };
            let (router, drained) = (self.admin_router(), drained.clone());
            tokio::spawn(async move {
                server::serve(listener, None, router, &config, ConnectionMetrics::default(), drained).await;
            })
        });
        if let Some(certificate) = &certificate {
            let _ = self.state.metrics.certificate.set(certificate.clone());
        }
        let (router, connections) = (self.router(), self.connections());
        server::serve(listener, certificate, router, config, connections, self.state.shutdown.clone()).await;
        drained.cancel();
        if let Some(admin) = admin {
            admin.await?;
        }
        self.state.keys.close().await;
        Ok(())
    }
}
