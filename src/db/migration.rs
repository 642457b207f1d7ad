//! Applies migrations, and tells whether the schema is current.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::RequestPool;

/// The advisory lock of the migrating process; the number is arbitrary.
const LOCK: i64 = 0x6375_7374_6f6d_6572;
/// How often other processes poll for the lock.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Every migration, embedded. The database may have newer ones: during a rolling upgrade the old version keeps serving.
static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!();
    // sqlx's own lock is a blocking statement, and `create index concurrently` waits for every running statement: the migrating
    // process would deadlock with the waiting ones.
    migrator.set_ignore_missing(true);
    migrator.set_locking(false);
    migrator
});

/// Applies pending migrations on a connection without a statement timeout, as building an index may take long. Concurrent
/// runs wait for each other.
pub async fn run(options: &PgConnectOptions) -> Result<(), MigrateError> {
    let mut connection = PgConnection::connect_with(options).await?;
    while !sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut connection).await?
    {
        tokio::time::sleep(LOCK_POLL).await;
    }
    MIGRATOR.run(&mut connection).await?;
    // Closing the connection releases the lock.
    connection.close().await?;
    Ok(())
}

/// Counts the migrations that this database lacks; changes nothing.
pub async fn pending(options: &PgConnectOptions) -> sqlx::Result<usize> {
    let mut connection = PgConnection::connect_with(options).await?;
    let pending = pending_on(&mut connection).await?;
    connection.close().await?;
    Ok(pending)
}

async fn pending_on(connection: &mut PgConnection) -> sqlx::Result<usize> {
    let known: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    let applied: Vec<i64> = if known {
        sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(connection).await?
    } else {
        Vec::new()
    };
    Ok(MIGRATOR.iter().filter(|migration| !applied.contains(&migration.version)).count())
}

/// Caches whether the schema is current.
#[derive(Default)]
pub struct Schema {
    /// Stays true, as migrations are only added.
    current: AtomicBool,
}

impl Schema {
    /// Whether the database has every migration. Makes a round trip in any case, so that an unavailable database is an error.
    pub async fn is_current(&self, pool: &RequestPool) -> sqlx::Result<bool> {
        if self.current.load(Ordering::Relaxed) {
            pool.ping().await?;
            return Ok(true);
        }
        let current = pool.with_connection(pending_on).await? == 0;
        self.current.store(current, Ordering::Relaxed);
        Ok(current)
    }
}
