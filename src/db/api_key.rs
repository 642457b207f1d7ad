//! The table `api_key`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgExecutor, PgPool};

use crate::domain::{ApiKey, SecretHash};

/// What a server needs to know of a key to decide on a request.
#[derive(Debug, Clone)]
pub struct KeyState {
    /// Given by the database.
    pub id: i64,
    /// Whose data the key opens.
    pub organisation_id: i64,
    /// What may be shown of the key.
    pub mask: String,
    /// Empty: every scope.
    pub scopes: Vec<String>,
    /// Switched off for the time being when false.
    pub active: bool,
    /// `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Set once, for ever.
    pub deleted_at: Option<DateTime<Utc>>,
    limit_per_minute: Option<i64>,
}

impl KeyState {
    /// `None`: that of its kind.
    pub fn limit_per_minute(&self) -> Option<u32> {
        self.limit_per_minute.and_then(|limit| limit.try_into().ok())
    }
}

/// A key as lists show it.
#[derive(Debug)]
pub struct KeyRow {
    /// Given by the database.
    pub id: i64,
    /// `prod`, `dev` or `root`.
    pub kind: String,
    /// What may be shown of the key.
    pub mask: String,
    /// The words of whoever created it.
    pub description: String,
    /// Empty: every scope.
    pub scopes: Vec<String>,
    /// Calls a minute; `None`: as many as its kind may.
    pub limit_per_minute: Option<i64>,
    /// Switched off for the time being when false.
    pub active: bool,
    /// To the minute; `None`: never.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Set once, for ever.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// Everything about a new key but the key.
#[derive(Debug, Default)]
pub struct NewKey<'a> {
    /// Free text.
    pub description: &'a str,
    /// Empty: every scope.
    pub scopes: &'a [String],
    /// `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Calls a minute; `None`: as many as its kind may. Not for keys of the kind root.
    pub limit_per_minute: Option<u32>,
}

/// The foreign key to the organisation, broken by a key for one that does not exist.
pub const ORGANISATION_FKEY: &str = "api_key_organisation_id_fkey";

/// Broken by a limit for a key of the kind root.
pub const ROOT_IS_UNLIMITED: &str = "api_key_root_is_unlimited";

/// Where servers hear of keys that have changed: the payload is the id of one. They find out by themselves, too, so one
/// that does not hear anything is less than a second late.
pub const CHANGES: &str = "customer_match_key";

/// The state of a key, found by its hash.
pub async fn find(db: impl PgExecutor<'_>, hash: &SecretHash) -> sqlx::Result<Option<KeyState>> {
    sqlx::query_as!(
        KeyState,
        "select id, organisation_id, mask, scopes, active, expires_at, deleted_at, limit_per_minute
         from api_key where hash = $1",
        hash.as_bytes(),
    )
    .fetch_optional(db)
    .await
}

/// The states of many keys, by their ids.
pub async fn find_many(connection: &mut PgConnection, ids: &[i64]) -> sqlx::Result<HashMap<i64, KeyState>> {
    let states = sqlx::query_as!(
        KeyState,
        "select id, organisation_id, mask, scopes, active, expires_at, deleted_at, limit_per_minute
         from api_key where id = any($1)",
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(states.into_iter().map(|state| (state.id, state)).collect())
}

/// Registers a key and returns its id; `None` when it is registered already.
pub async fn create(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    key: &ApiKey,
    new: &NewKey<'_>,
) -> sqlx::Result<Option<i64>> {
    let hash = key.hash();
    sqlx::query_scalar!(
        "insert into api_key (organisation_id, hash, kind, mask, description, scopes, expires_at, limit_per_minute)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (hash) do nothing
         returning id",
        organisation_id,
        hash.as_bytes(),
        key.kind().as_str(),
        key.mask(),
        new.description,
        new.scopes,
        new.expires_at,
        new.limit_per_minute.map(i64::from),
    )
    .fetch_optional(db)
    .await
}

/// An organisation's keys, oldest first.
pub async fn list(db: impl PgExecutor<'_>, organisation_id: i64) -> sqlx::Result<Vec<KeyRow>> {
    sqlx::query_as!(
        KeyRow,
        "select id, kind, mask, description, scopes, limit_per_minute, active, last_used_at, created_at, expires_at, deleted_at
         from api_key where organisation_id = $1 order by id",
        organisation_id,
    )
    .fetch_all(db)
    .await
}

/// Marks a key as deleted, for ever. False when there is no such key.
pub async fn revoke(pool: &PgPool, id: i64) -> sqlx::Result<bool> {
    let revoked = sqlx::query_scalar!(
        "update api_key set deleted_at = coalesce(deleted_at, now()) where id = $1 returning id",
        id,
    )
    .fetch_optional(pool)
    .await?;
    announce(pool, id).await;
    Ok(revoked.is_some())
}

/// Sets the calls that a key may make in a minute; `None`: as many as its kind. False when there is no such key.
pub async fn set_limit(pool: &PgPool, id: i64, limit_per_minute: Option<u32>) -> sqlx::Result<bool> {
    let changed = sqlx::query_scalar!(
        "update api_key set limit_per_minute = $2 where id = $1 returning id",
        id,
        limit_per_minute.map(i64::from),
    )
    .fetch_optional(pool)
    .await?;
    announce(pool, id).await;
    Ok(changed.is_some())
}

/// Notes that these keys are in use, where that has not been noted within a minute. False while another server does the
/// same: two that took rows in different orders would wait for each other.
pub async fn record_last_used(connection: &mut PgConnection, ids: &[i64]) -> sqlx::Result<bool> {
    let mut transaction = connection.begin().await?;
    let turn = "select pg_try_advisory_xact_lock(hashtext('customer-match: last use of keys'))";
    let turn = sqlx::query_scalar(turn).fetch_one(&mut *transaction).await?;
    if turn {
        sqlx::query!(
            "update api_key set last_used_at = now()
             where id = any($1) and (last_used_at is null or last_used_at < now() - interval '1 minute')",
            ids,
        )
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(turn)
}

/// Not with the change itself: a database that knows no notifications can change a key all the same.
async fn announce(pool: &PgPool, id: i64) {
    let notified =
        sqlx::query("select pg_notify($1, $2)").bind(CHANGES).bind(id.to_string()).execute(pool).await;
    if let Err(error) = notified {
        tracing::debug!(%error, "servers find out by themselves what has changed");
    }
}
