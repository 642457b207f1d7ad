//! Limits how many unknown identity ids a client may try within a minute.
//!
//! Identity ids have 190 bits of entropy, so the limit protects none; a search shows up as 429. An id that is good is never rejected
//! for it: one user of a back end must not lock out the others. Neither does a session that has ended count, nor an id that
//! is tried again, which costs no lookup either: an identity that is not good will never be.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sqlx::PgConnection;

use crate::db::{RequestPool, customer_identity};
use crate::domain::{IdentityId, SecretHash};
use crate::error::{ApiError, ErrorCode};
use crate::rate_limit::{ClientWindows, WINDOW};

/// About 10 MB of them.
const CAPACITY: u64 = 50_000;

/// What attempts are counted by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) organisation_id: i64,
    pub(crate) ip: Option<IpAddr>,
}

pub(crate) struct IdentityAttempts {
    pool: Arc<RequestPool>,
    limit: u32,
    attempts: ClientWindows<i64>,
    /// Those that were tried of late and are not good, by organisation: an identity of another one is unknown.
    invalid: Cache<(i64, SecretHash), ()>,
}

impl IdentityAttempts {
    pub(crate) fn new(pool: Arc<RequestPool>, limit_per_minute: u32) -> Self {
        let invalid = Cache::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(WINDOW)
            .build();
        Self { pool, limit: limit_per_minute, attempts: ClientWindows::default(), invalid }
    }

    /// The result of the lookup of an identity.
    ///
    /// # Errors
    ///
    /// There is no such identity (401), and the client has tried too many that were never there (429); that of the lookup.
    pub(crate) async fn find<T>(
        &self,
        client: Client,
        identity: &IdentityId,
        look_up: impl Future<Output = Result<Option<T>, ApiError>>,
    ) -> Result<T, ApiError> {
        let Client { organisation_id, ip } = client;
        let tried = (organisation_id, identity.hash());
        let not_logged_in = Err(ErrorCode::UserMustBeAuthorized.into());
        if self.invalid.contains_key(&tried) {
            return not_logged_in;
        }
        if let Some(found) = look_up.await? {
            return Ok(found);
        }
        if let Some(rejection) = self.attempts.rejection(organisation_id, ip, self.limit, Instant::now()) {
            return Err(ApiError::too_many_unknown_identities(rejection.reset));
        }
        let exists =
            async |db: &mut PgConnection| customer_identity::exists(db, organisation_id, identity).await;
        let has_ended = self.pool.with_connection(organisation_id, exists).await?;
        self.invalid.insert(tried, ());
        if has_ended {
            return not_logged_in;
        }
        let decision = self.attempts.admit(organisation_id, ip, self.limit, Instant::now());
        if decision.admitted {
            not_logged_in
        } else {
            Err(ApiError::too_many_unknown_identities(decision.reset))
        }
    }
}
