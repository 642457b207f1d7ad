//! Known keys, remembered for a moment.
//!
//! A request must not cost a round trip for its key, and a revocation must reach every server within a second (contract
//! §3): so each state is kept for less than that. Unknown keys are not kept, whoever guesses allocates nothing.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use sqlx::PgPool;

use crate::db;
use crate::db::api_key::KeyState;
use crate::domain::{ApiKey, SecretHash};

/// With the look-up itself this stays under the promised second.
const TIME_TO_LIVE: Duration = Duration::from_millis(800);
/// Far more keys than a server sees in a second; a few megabytes.
const CAPACITY: u64 = 10_000;

/// The registry of keys, as this server knows it.
#[derive(Clone)]
pub struct KeyRegistry {
    pool: PgPool,
    known: Cache<SecretHash, Arc<KeyState>>,
}

enum Miss {
    Unknown,
    Database(Arc<sqlx::Error>),
}

impl KeyRegistry {
    /// An empty cache over the table.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, known: Cache::builder().max_capacity(CAPACITY).time_to_live(TIME_TO_LIVE).build() }
    }

    /// The state of a key, at most a second old; `None` for a key that was never registered. However many requests wait
    /// for one key, one of them asks the database.
    pub async fn find(&self, key: &ApiKey) -> Result<Option<Arc<KeyState>>, Arc<sqlx::Error>> {
        let hash = key.hash();
        let look_up = async {
            match db::api_key::find(&self.pool, &hash).await {
                Ok(Some(state)) => Ok(Arc::new(state)),
                Ok(None) => Err(Miss::Unknown),
                Err(error) => Err(Miss::Database(Arc::new(error))),
            }
        };
        match self.known.try_get_with(hash, look_up).await {
            Ok(state) => Ok(Some(state)),
            Err(miss) => match &*miss {
                Miss::Unknown => Ok(None),
                Miss::Database(error) => Err(Arc::clone(error)),
            },
        }
    }
}
