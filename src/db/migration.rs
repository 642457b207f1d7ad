//! The schema's versions.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};

/// The advisory lock that one migrating server holds; the number has no meaning.
const LOCK: i64 = 0x6375_7374_6f6d_6572;
/// How often the others look whether it is free.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Every migration, embedded. A database that is ahead of this binary is fine: during a rolling upgrade the old version
/// keeps serving.
static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!();
    // sqlx would block in the database for its lock, and `create index concurrently` waits for every statement that is
    // running there: the one who migrates would wait for those who wait for it.
    migrator.set_ignore_missing(true);
    migrator.set_locking(false);
    migrator
});

/// Applies what is pending, on a connection of its own, as building an index may take longer than a statement of ours.
/// Many servers may do so at once: one works and the others wait.
pub async fn run(options: &PgConnectOptions) -> Result<(), MigrateError> {
    let mut connection = PgConnection::connect_with(options).await?;
    while !sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut connection).await?
    {
        tokio::time::sleep(LOCK_POLL).await;
    }
    MIGRATOR.run(&mut connection).await?;
    // The lock goes with the connection.
    connection.close().await?;
    Ok(())
}

/// How many migrations this database lacks; changes nothing.
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

/// What one server knows of the schema.
#[derive(Default)]
pub struct Schema {
    /// Once it is, it stays: a schema does not go back.
    current: AtomicBool,
}

impl Schema {
    /// Whether the database has every migration. Asks it each time, so that an answer also says that the database is there.
    pub async fn is_current(&self, pool: &PgPool) -> sqlx::Result<bool> {
        if self.current.load(Ordering::Relaxed) {
            super::ping(pool).await?;
            return Ok(true);
        }
        let current = pending_on(&mut *pool.acquire().await?).await? == 0;
        self.current.store(current, Ordering::Relaxed);
        Ok(current)
    }
}
