//! The keys that this server has seen, with their states and their calls.
//!
//! A request does not wait for the database because of its key, and a revocation reaches every server within a second
//! (contract §3):
//!
//! ```text
//! request ─→ find ─→ known, and its state young enough ─→ go on
//!              ├───→ known, but unused for a moment ────→ wait for the next round, which starts at once
//!              └───→ not known ─────────────────────────→ look it up
//! rounds: every quarter of a second the states of the keys that were used, in one statement
//! ```
//!
//! While the database is away known keys stay as they were, for [`OUTAGE`]: what the request wants of the database decides
//! then. What has changed is heard of sooner where the database can tell ([`listener`]). Unknown keys are not kept, and whoever tries too many is refused without a question ([`guesses`]).

mod guesses;
mod key;
mod listener;
mod rounds;

pub use key::Key;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use sqlx::PgPool;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use self::guesses::Guesses;
use self::rounds::{Round, Rounds};
use crate::db;
use crate::db::api_key::KeyState;
use crate::domain::{ApiKey, SecretHash};

/// How long a request waits for a round before it makes do with an older state.
const PATIENCE: Duration = Duration::from_secs(1);
/// How old a state may get while the database is away.
const OUTAGE: Duration = Duration::from_secs(60);
/// A key that nobody uses is forgotten after this time: its last call has long left the window.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Known keys; the least recently used are forgotten first. Some ten megabytes.
const CAPACITY: u64 = 50_000;

/// How much the database is asked of the keys in use.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two rounds, unless somebody waits for one.
    pub pause: Duration,
    /// The age up to which a state is served without a question.
    pub max_age: Duration,
}

impl Default for Pace {
    /// As the promised second wants it: a round may take more than half of it.
    fn default() -> Self {
        Self { pause: Duration::from_millis(250), max_age: Duration::from_millis(900) }
    }
}

/// The registry of keys, as this server knows it. What works for it ends with it.
pub struct KeyRegistry {
    pool: PgPool,
    pace: Pace,
    known: Cache<SecretHash, Arc<Key>>,
    guesses: Guesses,
    /// Keys to bring up to date in the next round.
    used: mpsc::UnboundedSender<Arc<Key>>,
    hurry: Arc<Notify>,
    rounds: watch::Receiver<Round>,
    _listener: AbortOnDropHandle<()>,
}

/// Why nothing can be said of a key.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The look-up failed.
    #[error(transparent)]
    Database(Arc<sqlx::Error>),
    /// The client has tried too many keys that do not exist; it may go on after this time.
    #[error("too many guesses")]
    TooManyGuesses(Duration),
    /// The database has been away for too long.
    #[error("the state of a key is older than {} s", OUTAGE.as_secs())]
    TooOld,
}

enum Miss {
    Unknown,
    TooManyGuesses(Duration),
    Database(Arc<sqlx::Error>),
}

impl KeyRegistry {
    /// Knows no key yet. Each client may try this many unknown keys within any minute.
    pub fn start(pool: PgPool, unknown_keys: u32, pace: Pace) -> Self {
        let known: Cache<SecretHash, Arc<Key>> = Cache::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(FORGET_AFTER)
            .build();
        let (used, queue) = mpsc::unbounded_channel();
        let hurry = Arc::new(Notify::new());
        let (rounds, done) = watch::channel(Round::default());
        tokio::spawn(Rounds::new(db::keys_options(&pool), pace.pause, Arc::clone(&hurry), rounds).run(queue));
        let everything = known.clone();
        let outdate = move |id| {
            if let Some((_, key)) = everything.iter().find(|(_, key)| key.id == id) {
                key.outdate(pace.max_age);
            }
        };
        let listener =
            AbortOnDropHandle::new(tokio::spawn(listener::run(db::listener_options(&pool), outdate)));
        let guesses = Guesses::new(unknown_keys);
        Self { pool, pace, known, guesses, used, hurry, rounds: done, _listener: listener }
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
    ) -> Result<Option<(Arc<Key>, Arc<KeyState>)>, FindError> {
        let hash = key.hash();
        let known = match self.known.get(&hash).await {
            Some(known) => known,
            None => match self.look_up(key, hash, client()).await? {
                Some(known) => known,
                None => return Ok(None),
            },
        };
        if known.mark_used() {
            // The rounds outlive every registry that could ask for one.
            let _ = self.used.send(Arc::clone(&known));
        }
        let (mut state, mut age) = known.state(Instant::now());
        if age > self.pace.max_age {
            self.round(&known).await;
            (state, age) = known.state(Instant::now());
        }
        if age > OUTAGE {
            return Err(FindError::TooOld);
        }
        if state.is_none() {
            self.known.invalidate(&hash).await;
        }
        Ok(state.map(|state| (known, state)))
    }

    /// Counts what cannot be a key as a guess.
    ///
    /// # Errors
    ///
    /// The client has made too many.
    pub fn refuse_malformed(&self, client: Option<IpAddr>) -> Result<(), FindError> {
        self.guesses.begin(client, Instant::now()).map(drop).map_err(FindError::TooManyGuesses)
    }

    async fn look_up(
        &self,
        key: &ApiKey,
        hash: SecretHash,
        client: Option<IpAddr>,
    ) -> Result<Option<Arc<Key>>, FindError> {
        let look_up = async {
            let as_of = Instant::now();
            let guess = self.guesses.begin(client, as_of).map_err(Miss::TooManyGuesses)?;
            let found = match db::api_key::find(&self.pool, &hash).await {
                Ok(None) => return Err(Miss::Unknown),
                Ok(Some(state)) => Ok(Arc::new(Key::new(key.kind(), state, as_of))),
                Err(error) => Err(Miss::Database(Arc::new(error))),
            };
            guess.take_back();
            found
        };
        match self.known.try_get_with(hash, look_up).await {
            Ok(known) => Ok(Some(known)),
            Err(miss) => match &*miss {
                Miss::Unknown => Ok(None),
                Miss::TooManyGuesses(retry_after) => Err(FindError::TooManyGuesses(*retry_after)),
                Miss::Database(error) => Err(FindError::Database(Arc::clone(error))),
            },
        }
    }

    /// Waits until this key is up to date, unless the database is away.
    async fn round(&self, known: &Key) {
        self.hurry.notify_one();
        let mut rounds = self.rounds.clone();
        let done = rounds.wait_for(|round| round.away || known.state(Instant::now()).1 <= self.pace.max_age);
        // Late or not, what is known now is used.
        let _ = tokio::time::timeout(PATIENCE, done).await;
    }
}
