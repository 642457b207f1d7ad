//! The keys that this server has seen, with their states and their calls.
//!
//! A request does not wait for the database because of its key, and a revocation reaches every server within a second
//! (contract §3):
//!
//! ```text
//! request ─→ find ─→ in use within the last minute ─→ go on
//!              ├───→ known, but not in use ─────────→ wait for the next round, which starts at once
//!              └───→ not known ─────────────────────→ look it up, and wait for the next round
//! rounds: every quarter of a second the states of all keys in use, in one statement, and then the exchange of leases
//! ```
//!
//! While the database is away known keys stay as they were, for [`OUTAGE`]: what the request wants of the database decides
//! then. What has changed is heard of sooner where the database can tell ([`listener`]). Unknown keys are not kept, and
//! whoever tries too many is refused without a question ([`invalid_keys`]).
//!
//! Servers keep a key's limit together: each lets in no more than its [quota](crate::rate_limit::quota) of it, and leases move
//! to where the calls come ([`leases`]). A server that is alone has all of it, so it is exact and asks nobody.

mod cached_key;
mod change_listener;
mod invalid_key_limiter;
mod quota_exchange;
mod refresher;

pub use cached_key::CachedKey;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use sqlx::PgPool;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::cached_key::Look;
use self::invalid_key_limiter::InvalidKeyLimiter;
pub(crate) use self::invalid_key_limiter::network;
use self::refresher::{Refresher, Round};
use crate::config::RateLimits;
use crate::db;
use crate::db::api_key::KeyState;
use crate::domain::{ApiKey, SecretHash};

/// How long a request waits for rounds before it makes do with what is known.
const PATIENCE: Duration = Duration::from_secs(3);
/// How old a state may get while the database is away.
const OUTAGE: Duration = Duration::from_secs(60);
/// A key that nobody uses is forgotten after this time: its last call has long left the window.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Known keys; the least recently used are forgotten first. Some ten megabytes.
const CAPACITY: u64 = 50_000;

/// How much the database is asked of the keys in use.
#[derive(Debug, Clone, Copy)]
pub struct RefreshPolicy {
    /// Between two rounds, unless somebody waits for one.
    pub interval: Duration,
    /// The age up to which a state is served without a question.
    pub max_staleness: Duration,
}

impl Default for RefreshPolicy {
    /// As the promised second wants it: a round may take more than half of it.
    fn default() -> Self {
        Self { interval: Duration::from_millis(250), max_staleness: Duration::from_millis(900) }
    }
}

/// The registry of keys, as this server knows it. What works for it ends with it.
pub struct ApiKeyCache {
    pool: PgPool,
    limits: RateLimits,
    policy: RefreshPolicy,
    known: Cache<SecretHash, Arc<CachedKey>>,
    invalid_keys: InvalidKeyLimiter,
    /// Keys that have come into use.
    joining: mpsc::UnboundedSender<Arc<CachedKey>>,
    hurry: Arc<Notify>,
    rounds: watch::Receiver<Round>,
    tasks: TaskTracker,
    closing: CancellationToken,
    _listener: AbortOnDropHandle<()>,
}

/// Why nothing can be said of a key.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The look-up failed.
    #[error(transparent)]
    Database(Arc<sqlx::Error>),
    /// The client has tried too many keys that do not exist; it may go on after this time.
    #[error("too many invalid_keys")]
    TooManyInvalidKeys(Duration),
    /// The database has been away for too long.
    #[error("the state of a key is older than {} s", OUTAGE.as_secs())]
    Stale,
}

enum Miss {
    Unknown,
    TooManyInvalidKeys(Duration),
    Database(Arc<sqlx::Error>),
}

impl ApiKeyCache {
    /// Knows no key yet.
    pub fn start(pool: PgPool, limits: RateLimits, policy: RefreshPolicy) -> Self {
        let known: Cache<SecretHash, Arc<CachedKey>> = Cache::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(FORGET_AFTER)
            .build();
        let (joining, joined) = mpsc::unbounded_channel();
        let hurry = Arc::new(Notify::new());
        let (rounds, done) = watch::channel(Round::default());
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let work = Refresher::new(db::keys_options(&pool), policy.interval, Arc::clone(&hurry), rounds);
        tasks.spawn(work.run(joined, closing.clone()));
        let everything = known.clone();
        let mark_stale = move |id| {
            if let Some((_, key)) = everything.iter().find(|(_, key)| key.id == id) {
                key.mark_stale(policy.max_staleness);
            }
        };
        let listener = tokio::spawn(change_listener::run(db::listener_options(&pool), mark_stale));
        Self {
            pool,
            limits,
            policy,
            known,
            invalid_keys: InvalidKeyLimiter::new(limits.invalid_keys),
            joining,
            hurry,
            rounds: done,
            tasks,
            closing,
            _listener: AbortOnDropHandle::new(listener),
        }
    }

    /// Leaves to other servers what has not been used of any limit. For the end, when no more calls come.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// A key and its state, as it was less than a second ago; `None` for a key that was never registered. However many
    /// requests wait for one key, one of them asks the database. Asked for is the address of the client only when it
    /// matters.
    ///
    /// # Errors
    ///
    /// A key that is not known yet while the database is away, or one that it could not be asked about for [`OUTAGE`]; a
    /// key that is not known yet, from a client that has tried too many.
    pub async fn find(
        &self,
        key: &ApiKey,
        client: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<Option<(Arc<CachedKey>, Arc<KeyState>)>, LookupError> {
        let hash = key.hash();
        let known = match self.known.get(&hash).await {
            Some(known) => known,
            None => match self.look_up(key, hash, client()).await? {
                Some(known) => known,
                None => return Ok(None),
            },
        };
        let mut look = known.look(Instant::now());
        if look.joins {
            // The rounds end after the last who could ask for one.
            let _ = self.joining.send(Arc::clone(&known));
        }
        if !self.suffices(&look) {
            self.hurry.notify_one();
            let mut rounds = self.rounds.clone();
            let done = rounds.wait_for(|round| round.away || self.suffices(&known.look(Instant::now())));
            // Late or not, what is known now is used.
            let _ = tokio::time::timeout(PATIENCE, done).await;
            look = known.look(Instant::now());
        }
        if look.age > OUTAGE {
            return Err(LookupError::Stale);
        }
        if look.state.is_none() {
            self.known.invalidate(&hash).await;
        }
        Ok(look.state.map(|state| (known, state)))
    }

    /// Counts what cannot be a key as a guess.
    ///
    /// # Errors
    ///
    /// The client has made too many.
    pub fn count_malformed(&self, client: Option<IpAddr>) -> Result<(), LookupError> {
        self.invalid_keys.count(client, Instant::now()).map_err(LookupError::TooManyInvalidKeys)
    }

    async fn look_up(
        &self,
        key: &ApiKey,
        hash: SecretHash,
        client: Option<IpAddr>,
    ) -> Result<Option<Arc<CachedKey>>, LookupError> {
        let look_up = async {
            let as_of = Instant::now();
            self.invalid_keys.check(client, as_of).map_err(Miss::TooManyInvalidKeys)?;
            match db::run(&self.pool, async |db| db::api_key::find(db, &hash).await).await {
                Ok(None) => {
                    self.invalid_keys.count(client, as_of).map_err(Miss::TooManyInvalidKeys)?;
                    Err(Miss::Unknown)
                }
                Ok(Some(state)) => Ok(Arc::new(CachedKey::new(key.kind(), self.limits, state, as_of))),
                Err(error) => Err(Miss::Database(Arc::new(error))),
            }
        };
        match self.known.try_get_with(hash, look_up).await {
            Ok(known) => Ok(Some(known)),
            Err(miss) => match &*miss {
                Miss::Unknown => Ok(None),
                Miss::TooManyInvalidKeys(retry_after) => Err(LookupError::TooManyInvalidKeys(*retry_after)),
                Miss::Database(error) => Err(LookupError::Database(Arc::clone(error))),
            },
        }
    }

    /// Whether a request may go on with what is known.
    fn suffices(&self, look: &Look) -> bool {
        look.state.is_none() || look.counted && look.age <= self.policy.max_staleness
    }
}
