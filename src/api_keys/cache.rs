//! The cache that requests look up their key in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::cached_key::{CachedKey, Snapshot};
use super::connection::TaskConnection;
use super::invalid_key_limiter::InvalidKeyLimiter;
use super::lookup::PendingLookup;
use super::refresher::{Refresh, Refresher};
use super::{change_listener, lookup};
use crate::config::{Config, RateLimits};
use crate::db::RequestPool;
use crate::db::api_key::KeyState;
use crate::domain::{ApiKey, SecretHash};

/// How long a request waits for a refresh. After that it proceeds with the cached state: a slow refresh must not cost more
/// than a failed one.
const REFRESH_WAIT: Duration = Duration::from_secs(3);
/// How old a cached state may get while no connection can refresh it: a little longer than a write waits for the database, so that
/// it survives a short failure, and not longer, because other connections may work and a revoked key must stop.
const MAX_AGE_WHILE_UNAVAILABLE: Duration = Duration::from_secs(10);
/// Unused keys are evicted after this time. It is longer than the rate limit's window, so no counted call is lost.
const TIME_TO_IDLE: Duration = Duration::from_secs(600);
/// Cached keys, about 10 MB of them; the least recently used is evicted first.
const CAPACITY: u64 = 50_000;

/// How fresh cached states are kept.
#[derive(Debug, Clone, Copy)]
pub struct RefreshPolicy {
    /// Time between two refreshes, unless a request waits for one.
    pub interval: Duration,
    /// Age up to which a state is served without waiting for a refresh.
    pub max_staleness: Duration,
}

impl Default for RefreshPolicy {
    /// Keeps the promised second, and lets a refresh take 650 ms before a request has to wait for it.
    fn default() -> Self {
        Self { interval: Duration::from_millis(250), max_staleness: Duration::from_millis(900) }
    }
}

/// The API keys that this server has seen. Unknown keys are not cached, so that a new key works at once and invalid ones
/// take no memory. The background tasks end when the cache is dropped.
pub struct ApiKeyCache {
    limits: RateLimits,
    records_client_ips: bool,
    policy: RefreshPolicy,
    keys: Cache<SecretHash, Arc<CachedKey>>,
    invalid_keys: InvalidKeyLimiter,
    /// Unbounded, as each request sends one at a time.
    lookups: mpsc::UnboundedSender<PendingLookup>,
    /// Keys that the refresher is to keep fresh from now on. Unbounded, as each cached key is sent once until it is idle again.
    activations: mpsc::UnboundedSender<Arc<CachedKey>>,
    refresh_now: Arc<Notify>,
    last_refresh: watch::Receiver<Refresh>,
    tasks: TaskTracker,
    closing: CancellationToken,
    _change_listener: AbortOnDropHandle<()>,
}

/// Why a key could not be looked up.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LookupError {
    #[error(transparent)]
    Database(Arc<sqlx::Error>),
    /// The client has tried too many invalid keys and may try again after this time.
    #[error("too many invalid keys")]
    TooManyInvalidKeys(Duration),
    /// The database has been unavailable for longer than a cached state may be served.
    #[error("the cached state of a key is older than {} s", MAX_AGE_WHILE_UNAVAILABLE.as_secs())]
    Stale,
}

impl ApiKeyCache {
    /// Starts with an empty cache, and with the tasks that keep it fresh. They have connections of their own, and use the pool
    /// while these cannot be had.
    pub fn start(
        options: PgConnectOptions,
        pool: Arc<RequestPool>,
        config: &Config,
        policy: RefreshPolicy,
    ) -> Self {
        let limits = config.rate_limits;
        let keys: Cache<SecretHash, Arc<CachedKey>> = Cache::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(TIME_TO_IDLE)
            .build();
        let (activations, activated) = mpsc::unbounded_channel();
        let refresh_now = Arc::new(Notify::new());
        let (refreshed, last_refresh) = watch::channel(Refresh::default());
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let (lookups, pending_lookups) = mpsc::unbounded_channel();
        let connection = || TaskConnection::new(options.clone(), Arc::clone(&pool));
        tokio::spawn(lookup::run(connection(), pending_lookups));
        let refresher = Refresher::new(connection(), policy.interval, Arc::clone(&refresh_now), refreshed);
        tasks.spawn(refresher.run(activated, closing.clone()));
        let cached = keys.clone();
        // A scan, because the cache is keyed by hash and a notification names an id: changes are rare.
        let mark_stale = move |id| {
            if let Some((_, key)) = cached.iter().find(|(_, key)| key.id == id) {
                key.mark_stale(policy.max_staleness);
            }
        };
        let change_listener = tokio::spawn(change_listener::run(options, mark_stale));
        Self {
            limits,
            records_client_ips: config.access_log.client_ip(),
            policy,
            keys,
            invalid_keys: InvalidKeyLimiter::new(limits.invalid_keys),
            lookups,
            activations,
            refresh_now,
            last_refresh,
            tasks,
            closing,
            _change_listener: AbortOnDropHandle::new(change_listener),
        }
    }

    /// Releases the unused part of each quota to other servers. Call it after the last request.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Returns a key and its state, which is at most [`RefreshPolicy::max_staleness`] old while the database is available;
    /// `None` for an unknown key. Concurrent lookups of one key share one query.
    pub async fn find(
        &self,
        key: &ApiKey,
        client_ip: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<Option<(Arc<CachedKey>, Arc<KeyState>)>, LookupError> {
        let (hash, client_ip) = (key.hash(), client_ip());
        let cached = match self.keys.get(&hash).await {
            Some(cached) => cached,
            None => match self.look_up(key, hash, client_ip).await? {
                Some(cached) => cached,
                None => return Ok(None),
            },
        };
        // Before the wait for a refresh, which records the first use.
        cached.used_by(client_ip.filter(|_| self.records_client_ips));
        let mut snapshot = cached.access(Instant::now());
        if snapshot.newly_in_use {
            // The refresher outlives every sender, so this cannot fail.
            let _ = self.activations.send(Arc::clone(&cached));
        }
        if !self.is_fresh(&snapshot) {
            self.refresh_now.notify_one();
            let mut last_refresh = self.last_refresh.clone();
            let refreshed = last_refresh
                .wait_for(|refresh| refresh.failed || self.is_fresh(&cached.access(Instant::now())));
            let _ = tokio::time::timeout(REFRESH_WAIT, refreshed).await;
            snapshot = cached.access(Instant::now());
        }
        if snapshot.age > MAX_AGE_WHILE_UNAVAILABLE {
            return Err(LookupError::Stale);
        }
        if snapshot.state.is_none() {
            self.keys.invalidate(&hash).await;
        }
        Ok(snapshot.state.map(|state| (cached, state)))
    }

    /// Counts a text that is no valid key against the client's limit, unless it was counted a short time ago.
    pub fn count_invalid(&self, client_ip: Option<IpAddr>, key: &str) -> Result<(), LookupError> {
        self.invalid_keys.count(client_ip, key, Instant::now()).map_err(LookupError::TooManyInvalidKeys)
    }

    async fn look_up(
        &self,
        key: &ApiKey,
        hash: SecretHash,
        client_ip: Option<IpAddr>,
    ) -> Result<Option<Arc<CachedKey>>, LookupError> {
        // The error is `None` for an unknown key, which is not cached.
        let look_up = async {
            let now = Instant::now();
            let (reply, found) = oneshot::channel();
            let sent = self.lookups.send(PendingLookup { hash, reply });
            let stopped = || LookupError::Database(Arc::new(sqlx::Error::WorkerCrashed));
            sent.map_err(|_| stopped())?;
            let found = found.await.map_err(|_| stopped())?;
            let Some(state) = found.map_err(LookupError::Database)? else {
                self.count_invalid(client_ip, key.expose())?;
                return Err(None);
            };
            Ok(Arc::new(CachedKey::new(key.kind(), self.limits, state, now)))
        };
        match self.keys.try_get_with(hash, look_up).await {
            Ok(cached) => Ok(Some(cached)),
            Err(error) => Option::clone(&error).map_or(Ok(None), Err),
        }
    }

    /// A key that was deleted from the table needs no refresh: it is rejected in any case.
    fn is_fresh(&self, snapshot: &Snapshot) -> bool {
        snapshot.state.is_none() || snapshot.has_quota && snapshot.age <= self.policy.max_staleness
    }
}
