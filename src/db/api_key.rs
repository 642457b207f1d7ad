//! The table `api_key`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgExecutor, PgPool};

use crate::domain::{ApiKey, EXPIRY_WARNING, KeyStatus, OriginPattern, Scopes, SecretHash};

/// The part of a key that decides whether a request is authenticated.
#[derive(Debug, Clone)]
pub struct KeyState {
    pub id: i64,
    pub organisation_id: i64,
    pub mask: String,
    pub scopes: Scopes,
    /// False: switched off, perhaps temporarily.
    pub active: bool,
    /// `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Set once and never cleared.
    pub deleted_at: Option<DateTime<Utc>>,
    limit_per_minute: Option<i64>,
    allowed_origins: Vec<String>,
    client_limit_per_minute: Option<i64>,
}

impl KeyState {
    /// Whether the key is made for web pages and therefore no secret.
    pub fn is_publishable(&self) -> bool {
        !self.allowed_origins.is_empty()
    }

    /// Whether pages of this origin may use the key, if it is publishable.
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|pattern| OriginPattern::matches(pattern, origin))
    }

    /// The limit of each client with a publishable key.
    pub fn client_limit_per_minute(&self) -> Option<u32> {
        self.client_limit_per_minute.and_then(|limit| limit.try_into().ok())
    }

    /// The key's own limit; `None`: that of its kind.
    pub fn limit_per_minute(&self) -> Option<u32> {
        self.limit_per_minute.and_then(|limit| limit.try_into().ok())
    }

    pub fn status(&self, now: DateTime<Utc>) -> KeyStatus {
        KeyStatus::of(self.deleted_at, self.active, self.expires_at, now)
    }

    /// When the key ends, if that is soon or has been.
    pub fn sunset(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.expires_at.filter(|at| *at <= now + EXPIRY_WARNING && self.deleted_at.is_none())
    }
}

/// A key as `key list` and `key show` show it.
#[derive(Debug)]
pub struct KeyRow {
    pub id: i64,
    pub organisation_id: i64,
    /// The organisation's name.
    pub organisation: String,
    /// `prod`, `dev` or `root`.
    pub kind: String,
    pub mask: String,
    pub description: String,
    /// Empty: every scope.
    pub scopes: Vec<String>,
    /// `None`: the limit of its kind.
    pub limit_per_minute: Option<i64>,
    /// Not empty: the key is publishable.
    pub allowed_origins: Vec<String>,
    /// Of a publishable key.
    pub client_limit_per_minute: Option<i64>,
    pub active: bool,
    /// To the minute; `None`: never.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The client IP address of that use.
    pub last_used_ip: Option<String>,
    pub created_at: DateTime<Utc>,
    /// `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
    pub deleted_at: Option<DateTime<Utc>>,
}

impl KeyRow {
    pub fn status(&self, now: DateTime<Utc>) -> KeyStatus {
        KeyStatus::of(self.deleted_at, self.active, self.expires_at, now)
    }
}

/// A key that will expire.
#[derive(Debug, Clone)]
pub struct ExpiringKey {
    pub id: i64,
    pub organisation_id: i64,
    pub mask: String,
    pub expires_at: DateTime<Utc>,
}

impl ExpiringKey {
    pub fn days_left(&self, now: DateTime<Utc>) -> f64 {
        (self.expires_at - now).num_seconds() as f64 / 86_400.0
    }

    /// Whether the operator is to be warned.
    pub fn is_ending(&self, now: DateTime<Utc>) -> bool {
        self.expires_at <= now + EXPIRY_WARNING
    }
}

/// The columns of a new key that are not derived from the key itself.
#[derive(Debug, Default)]
pub struct NewKey<'a> {
    pub description: &'a str,
    /// Empty: every scope.
    pub scopes: &'a [String],
    /// `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// `None`: the limit of its kind. Must be `None` for the kind root.
    pub limit_per_minute: Option<u32>,
    /// Not empty: the key is publishable, which has only the scope `customer.match` and a limit for each client.
    pub allowed_origins: &'a [String],
    pub client_limit_per_minute: Option<u32>,
}

/// Violated by a limit for a key of the kind root.
pub const ROOT_IS_UNLIMITED: &str = "api_key_root_is_unlimited";

/// The notification channel for changes of keys; the payload is a key's id. Servers also poll, so a lost notification
/// delays a change by less than a second.
pub const CHANGE_CHANNEL: &str = "customer_match_key";

pub async fn find(db: impl PgExecutor<'_>, hash: &SecretHash) -> sqlx::Result<Option<KeyState>> {
    sqlx::query_as!(
        KeyState,
        "select id, organisation_id, mask, scopes, active, expires_at, deleted_at, limit_per_minute, allowed_origins, client_limit_per_minute
         from api_key where hash = $1",
        hash.as_bytes(),
    )
    .fetch_optional(db)
    .await
}

/// The states of the keys that exist, by hash.
pub async fn find_by_hashes(
    connection: &mut PgConnection,
    hashes: &[Vec<u8>],
) -> sqlx::Result<HashMap<Vec<u8>, KeyState>> {
    let rows = sqlx::query!(
        "select hash, id, organisation_id, mask, scopes, active, expires_at, deleted_at, limit_per_minute,
                allowed_origins, client_limit_per_minute
         from api_key where hash = any($1)",
        hashes,
    )
    .fetch_all(connection)
    .await?;
    let states = rows.into_iter().map(|row| {
        let state = KeyState {
            id: row.id,
            organisation_id: row.organisation_id,
            mask: row.mask,
            scopes: row.scopes.into(),
            active: row.active,
            expires_at: row.expires_at,
            deleted_at: row.deleted_at,
            limit_per_minute: row.limit_per_minute,
            allowed_origins: row.allowed_origins,
            client_limit_per_minute: row.client_limit_per_minute,
        };
        (row.hash, state)
    });
    Ok(states.collect())
}

/// The states of the keys that exist, by id.
pub async fn find_many(connection: &mut PgConnection, ids: &[i64]) -> sqlx::Result<HashMap<i64, KeyState>> {
    let states = sqlx::query_as!(
        KeyState,
        "select id, organisation_id, mask, scopes, active, expires_at, deleted_at, limit_per_minute, allowed_origins, client_limit_per_minute
         from api_key where id = any($1)",
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(states.into_iter().map(|state| (state.id, state)).collect())
}

/// Inserts a key and returns its id; `None` if the key exists already.
pub async fn create(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    key: &ApiKey,
    new: &NewKey<'_>,
) -> sqlx::Result<Option<i64>> {
    let hash = key.hash();
    sqlx::query_scalar!(
        "insert into api_key (
            organisation_id, hash, kind, mask, description, scopes, expires_at, limit_per_minute, allowed_origins,
            client_limit_per_minute
         )
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
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
        new.allowed_origins,
        new.client_limit_per_minute.map(i64::from),
    )
    .fetch_optional(db)
    .await
}

/// The keys of an organisation, or of all, oldest first.
pub async fn list(db: impl PgExecutor<'_>, organisation_id: Option<i64>) -> sqlx::Result<Vec<KeyRow>> {
    sqlx::query_as!(
        KeyRow,
        "select k.id, organisation_id, name as organisation, kind, mask, description, scopes, limit_per_minute, allowed_origins,
                client_limit_per_minute, active, last_used_at, host(last_used_ip) as last_used_ip, k.created_at, expires_at, deleted_at
         from api_key k join organisation o on o.id = k.organisation_id
         where $1::int8 is null or organisation_id = $1 order by k.id",
        organisation_id,
    )
    .fetch_all(db)
    .await
}

/// The key with this id.
pub async fn find_row(db: impl PgExecutor<'_>, id: i64) -> sqlx::Result<Option<KeyRow>> {
    sqlx::query_as!(
        KeyRow,
        "select k.id, organisation_id, name as organisation, kind, mask, description, scopes, limit_per_minute, allowed_origins,
                client_limit_per_minute, active, last_used_at, host(last_used_ip) as last_used_ip, k.created_at, expires_at, deleted_at
         from api_key k join organisation o on o.id = k.organisation_id
         where k.id = $1",
        id,
    )
    .fetch_optional(db)
    .await
}

/// The keys that may be used now and will expire, the first to do so first.
pub async fn list_expiring(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<ExpiringKey>> {
    sqlx::query_as!(
        ExpiringKey,
        r#"select id, organisation_id, mask, expires_at as "expires_at!" from api_key
           where deleted_at is null and active and expires_at > now() order by expires_at, id"#,
    )
    .fetch_all(db)
    .await
}

/// Moves the end of a key by some days, or of an expired one to so many days from now. `None` if the key does not exist, was
/// revoked or never expires.
pub async fn extend(pool: &PgPool, id: i64, days: i32) -> sqlx::Result<Option<DateTime<Utc>>> {
    let expires_at = sqlx::query_scalar!(
        r#"update api_key set expires_at = greatest(expires_at, now()) + make_interval(days => $2)
           where id = $1 and deleted_at is null and expires_at is not null
           returning expires_at as "expires_at!""#,
        id,
        days,
    )
    .fetch_optional(pool)
    .await?;
    notify_change(pool, id).await;
    Ok(expires_at)
}

/// Switches a key on or off. False if the key does not exist or was revoked.
pub async fn set_active(pool: &PgPool, id: i64, active: bool) -> sqlx::Result<bool> {
    let changed = sqlx::query_scalar!(
        "update api_key set active = $2 where id = $1 and deleted_at is null returning id",
        id,
        active,
    )
    .fetch_optional(pool)
    .await?;
    notify_change(pool, id).await;
    Ok(changed.is_some())
}

/// A key that takes the place of another.
#[derive(Debug)]
pub struct Successor {
    pub id: i64,
    /// `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// The end of the key that it replaces.
    pub old_expires_at: DateTime<Utc>,
}

/// Inserts a successor with the organisation, the description, the permissions, the limits and the time to live of the key `id`, which
/// expires after `overlap` unless it does before. `None` if that key does not exist or is not active.
pub async fn rotate(
    pool: &PgPool,
    id: i64,
    successor: &ApiKey,
    overlap: Duration,
) -> sqlx::Result<Option<Successor>> {
    let hash = successor.hash();
    let rotated = sqlx::query_as!(
        Successor,
        r#"with old as (
             select * from api_key
             where id = $1 and deleted_at is null and active and (expires_at is null or expires_at > now())
             for update
           ), successor as (
             insert into api_key (
               organisation_id, hash, kind, mask, description, scopes, limit_per_minute, allowed_origins,
               client_limit_per_minute, expires_at
             )
             select organisation_id, $2, kind, $3, description, scopes, limit_per_minute, allowed_origins,
               client_limit_per_minute, now() + (expires_at - created_at)
             from old
             returning id, expires_at
           ), ended as (
             update api_key set expires_at = least(api_key.expires_at, now() + make_interval(secs => $4))
             from old where api_key.id = old.id
             returning api_key.expires_at
           )
           select successor.id, successor.expires_at, ended.expires_at as "old_expires_at!" from successor, ended"#,
        id,
        hash.as_bytes(),
        successor.mask(),
        overlap.as_secs_f64(),
    )
    .fetch_optional(pool)
    .await?;
    notify_change(pool, id).await;
    Ok(rotated)
}

/// Marks a key as deleted, permanently. False if the key does not exist.
pub async fn revoke(pool: &PgPool, id: i64) -> sqlx::Result<bool> {
    let revoked = sqlx::query_scalar!(
        "update api_key set deleted_at = coalesce(deleted_at, now()) where id = $1 returning id",
        id,
    )
    .fetch_optional(pool)
    .await?;
    notify_change(pool, id).await;
    Ok(revoked.is_some())
}

/// Sets a key's own limit; `None`: the limit of its kind. False if the key does not exist.
pub async fn set_limit(pool: &PgPool, id: i64, limit_per_minute: Option<u32>) -> sqlx::Result<bool> {
    let changed = sqlx::query_scalar!(
        "update api_key set limit_per_minute = $2 where id = $1 returning id",
        id,
        limit_per_minute.map(i64::from),
    )
    .fetch_optional(pool)
    .await?;
    notify_change(pool, id).await;
    Ok(changed.is_some())
}

/// Records that these keys are in use and by which client, unless that was recorded within the last minute. Returns false without
/// waiting while another server does it: two servers that update rows in different orders would deadlock.
pub async fn record_last_used(
    connection: &mut PgConnection,
    uses: &[(i64, Option<IpAddr>)],
) -> sqlx::Result<bool> {
    let (ids, ips): (Vec<_>, Vec<_>) = uses.iter().map(|(id, ip)| (*id, ip.map(|ip| ip.to_string()))).unzip();
    let mut transaction = connection.begin().await?;
    let lock = "select pg_try_advisory_xact_lock(hashtext('customer-match: last use of keys'))";
    let locked = sqlx::query_scalar(lock).fetch_one(&mut *transaction).await?;
    if locked {
        sqlx::query!(
            "update api_key set last_used_at = now(), last_used_ip = used.ip::inet
             from unnest($1::int8[], $2::text[]) as used (id, ip)
             where api_key.id = used.id and (last_used_at is null or last_used_at < now() - interval '1 minute')",
            &ids,
            &ips as &[Option<String>],
        )
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(locked)
}

/// A statement of its own, so that a database without notifications can change a key all the same.
async fn notify_change(pool: &PgPool, id: i64) {
    let notified =
        sqlx::query("select pg_notify($1, $2)").bind(CHANGE_CHANNEL).bind(id.to_string()).execute(pool).await;
    if let Err(error) = notified {
        tracing::debug!(%error, "cannot notify servers of a changed key; they poll");
    }
}
