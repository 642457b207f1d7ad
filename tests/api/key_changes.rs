//! Changes of a cached key: how they reach a server, and the recorded last use.
//!
//! On several threads: a command blocks the one of its test, and may wait for a transaction that a task of the server has begun.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use customer_match::api_keys::{ApiKeyCache, LookupError, RefreshPolicy};
use customer_match::config::Config;
use customer_match::db::api_key::{self, KeyState, NewKey};
use customer_match::db::{self, RequestPool, organisation};
use customer_match::domain::{ApiKey, KeyKind};
use serde_json::Value;
use sqlx::{Connection, PgConnection, PgPool};

use crate::support::binary::{on, run, run_json, run_refused};
use crate::support::{Service, TestDatabase};

/// Refreshes only on demand.
const NEVER: RefreshPolicy =
    RefreshPolicy { interval: Duration::from_secs(3600), max_staleness: Duration::from_secs(3600) };

fn cache(database: &TestDatabase, policy: RefreshPolicy) -> ApiKeyCache {
    let pool = Arc::new(RequestPool::new(database.options(), database.layout(), 4));
    ApiKeyCache::start(database.options(), pool, &Config::from_flags(&[]).unwrap(), policy)
}

/// A database with a key, and an empty cache.
struct Keys {
    cache: ApiKeyCache,
    key: ApiKey,
    id: i64,
    pool: PgPool,
    database: TestDatabase,
}

impl Keys {
    async fn start(policy: RefreshPolicy) -> Self {
        let database = TestDatabase::create().await;
        let pool = db::pool(database.options(), 4);
        organisation::create(&pool, "Acme").await.unwrap();
        let key = ApiKey::generate(KeyKind::Prod);
        let id = api_key::create(&pool, 1, &key, &NewKey::default()).await.unwrap().unwrap();
        Self { cache: cache(&database, policy), key, id, pool, database }
    }

    async fn state(&self) -> KeyState {
        // A cached key is found without yielding, so let the tasks of the cache run.
        tokio::task::yield_now().await;
        let (_, state) = self.cache.find(&self.key, || None).await.unwrap().unwrap();
        KeyState::clone(&state)
    }

    async fn last_used(&self) -> Option<DateTime<Utc>> {
        let sql = "select last_used_at from api_key where id = $1";
        sqlx::query_scalar(sql).bind(self.id).fetch_one(&self.pool).await.unwrap()
    }

    /// Waits until the cache listens on another connection than `other_than`, and returns the process id.
    async fn listens(&self, other_than: Option<i32>) -> i32 {
        let sql = "select pid from pg_stat_activity
                   where datname = current_database() and application_name = 'customer-match listener'
                     and query like 'LISTEN%' and state = 'idle' and pid is distinct from $1";
        loop {
            if let Some(pid) =
                sqlx::query_scalar(sql).bind(other_than).fetch_optional(&self.pool).await.unwrap()
            {
                return pid;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_suffices() {
    let keys = Keys::start(NEVER).await;
    assert_eq!(keys.state().await.limit_per_minute(), None);
    let pid = keys.listens(None).await;
    assert!(api_key::set_limit(&keys.pool, keys.id, Some(7)).await.unwrap());
    while keys.state().await.limit_per_minute() != Some(7) {}

    // Also on the next connection after one is lost.
    sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(&keys.pool).await.unwrap();
    keys.listens(Some(pid)).await;
    assert!(api_key::revoke(&keys.pool, keys.id).await.unwrap());
    while keys.state().await.deleted_at.is_none() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_not_necessary() {
    let keys = Keys::start(RefreshPolicy::default()).await;
    assert!(keys.state().await.active);
    sqlx::query("update api_key set active = false").execute(&keys.pool).await.unwrap();
    while keys.state().await.active {}
    sqlx::query("delete from api_key").execute(&keys.pool).await.unwrap();
    while keys.cache.find(&keys.key, || None).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_key_stays_valid_without_the_database() {
    let short =
        RefreshPolicy { interval: Duration::from_millis(5), max_staleness: Duration::from_millis(20) };
    let keys = Keys::start(short).await;
    keys.state().await;
    let name = keys.database.options().get_database().unwrap().to_owned();
    let mut other = PgConnection::connect_with(&keys.database.options().database("postgres")).await.unwrap();
    let mut execute = async |sql: String| sqlx::raw_sql(&sql).execute(&mut other).await.map(drop).unwrap();

    execute(format!("alter database {name} with allow_connections false")).await;
    execute(format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")).await;
    let unknown = keys.cache.find(&ApiKey::generate(KeyKind::Prod), || None).await;
    assert!(matches!(unknown, Err(LookupError::Database(_))));
    let unavailable = Instant::now();
    while unavailable.elapsed() < 10 * short.max_staleness {
        assert!(keys.state().await.deleted_at.is_none());
    }

    execute(format!("alter database {name} with allow_connections true")).await;
    api_key::revoke(&keys.pool, keys.id).await.unwrap();
    while keys.state().await.deleted_at.is_none() {}
}

/// Other connections may work, and a key that is revoked must not go on writing over them.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_seen_when_no_connection_of_its_own_can_be_had() {
    let service = Service::start().await;
    let mut operator = PgConnection::connect_with(&service.database.options()).await.unwrap();
    // The pool has an idle connection from now on.
    service.get_from("/ping/v1", &[]).await.assert_success();
    let name = service.database.options().get_database().unwrap().to_owned();
    let refuse = format!("alter database {name} with allow_connections false");
    let mut elsewhere =
        PgConnection::connect_with(&service.database.options().database("postgres")).await.unwrap();
    sqlx::raw_sql(&refuse).execute(&mut elsewhere).await.unwrap();
    let close = "select pg_terminate_backend(pid, 5000) from pg_stat_activity
                 where datname = current_database() and application_name in ('customer-match keys', 'customer-match listener')";
    sqlx::query(close).execute(&mut operator).await.unwrap();
    sqlx::raw_sql("update api_key set deleted_at = now()").execute(&mut operator).await.unwrap();
    let revoked = Instant::now();
    while service.get_from("/ping/v1", &[]).await.status != 404 {
        assert!(revoked.elapsed() < Duration::from_secs(3), "the key is still good");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_is_recorded_and_listed() {
    let keys = Keys::start(RefreshPolicy::default()).await;
    let list = || run_json(on(&keys.database, &["key", "list", "--organisation", "1", "--format", "json"]));
    assert_eq!(list()[0]["lastUsedAt"], Value::Null);
    keys.state().await;
    while keys.last_used().await.is_none() {}
    assert!(list()[0]["lastUsedAt"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_is_written_once_a_minute_by_one_server_at_a_time() {
    let keys = Keys::start(NEVER).await;
    let mut connection = keys.pool.acquire().await.unwrap();
    assert!(api_key::record_last_used(&mut connection, &[(keys.id, None)]).await.unwrap());
    let recorded = keys.last_used().await;
    assert!(recorded.is_some());
    assert!(api_key::record_last_used(&mut connection, &[(keys.id, None)]).await.unwrap());
    assert_eq!(keys.last_used().await, recorded);
    let earlier = "update api_key set last_used_at = last_used_at - interval '61 s'";
    sqlx::query(earlier).execute(&keys.pool).await.unwrap();
    assert!(api_key::record_last_used(&mut connection, &[(keys.id, None)]).await.unwrap());
    assert!(keys.last_used().await > recorded);

    let mut busy = keys.pool.begin().await.unwrap();
    let lock = "select pg_advisory_xact_lock(hashtext('customer-match: last use of keys'))";
    sqlx::query(lock).execute(&mut *busy).await.unwrap();
    assert!(!api_key::record_last_used(&mut connection, &[(keys.id, None)]).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_does_not_invalidate_keys() {
    let service = Service::start().await;
    let name = service.database.options().get_database().unwrap().to_owned();
    service.execute(&format!("alter database {name} set default_transaction_read_only = on")).await;
    let cache = cache(&service.database, RefreshPolicy::default());
    let key = ApiKey::parse(&service.key).unwrap();
    cache.find(&key, || None).await.unwrap().unwrap();
    // The change is seen, so refreshes continue although the last use could not be recorded.
    service.execute("update api_key set active = false").await;
    while cache.find(&key, || None).await.unwrap().unwrap().1.active {
        tokio::task::yield_now().await;
    }
}

// On another thread the cache keeps running beside the command; its open transaction would lock the row of the key otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_limit_is_changed_on_the_command_line() {
    let keys = Keys::start(RefreshPolicy::default()).await;
    let id = keys.id.to_string();
    assert_eq!(keys.state().await.limit_per_minute(), None);
    run(on(&keys.database, &["key", "set-limit", &id, "--limit-per-minute", "5"]));
    while keys.state().await.limit_per_minute() != Some(5) {}
    run(on(&keys.database, &["key", "set-limit", &id]));
    while keys.state().await.limit_per_minute().is_some() {}
    sqlx::query("update api_key set kind = 'root'").execute(&keys.pool).await.unwrap();
    let error = run_refused(on(&keys.database, &["key", "set-limit", &id, "--limit-per-minute", "5"]));
    assert!(error.contains("has no limit"), "{error}");
    for (state, words) in [("expires_at = now()", "has expired"), ("deleted_at = now()", "was revoked")] {
        sqlx::query(&format!("update api_key set {state}")).execute(&keys.pool).await.unwrap();
        let error = run_refused(on(&keys.database, &["key", "set-limit", &id]));
        assert!(error.contains(words), "{error}");
    }
}
