//! The schema's versions.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

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
    let known: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut connection)
        .await?;
    let applied: Vec<i64> = if known {
        sqlx::query_scalar("select version from _sqlx_migrations where success")
            .fetch_all(&mut connection)
            .await?
    } else {
        Vec::new()
    };
    connection.close().await?;
    Ok(MIGRATOR.iter().filter(|migration| !applied.contains(&migration.version)).count())
}
