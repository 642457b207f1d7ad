//! Applies migrations, and tells whether the schema is current.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::layout::Layout;
use super::schema_change::{self, LOCK, SESSION};
use super::{change_origin, connect, distribution};

/// Longer than migrations usually take, shorter than an operator waits.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Every migration, embedded. The database may have newer ones: during a rolling upgrade the old version keeps serving.
static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!();
    // sqlx's own lock is a blocking statement, and `create index concurrently` waits for every running statement: the migrating
    // process would deadlock with the waiting ones.
    migrator.set_ignore_missing(true);
    migrator.set_locking(false);
    migrator
});

/// Applies pending migrations. Concurrent runs wait for each other. What a run waits for is logged.
pub async fn run(options: &PgConnectOptions) -> Result<(), MigrateError> {
    apply(&MIGRATOR, options).await
}

/// Applies these migrations. Each can be interrupted and applied again: it is a transaction, or a statement that can be repeated
/// (migrations/README.md).
pub async fn apply(migrator: &Migrator, options: &PgConnectOptions) -> Result<(), MigrateError> {
    let mut connection = schema_change::connect(options).await?;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
    tokio::select! {
        result = apply_on(&mut connection, migrator) => result?,
        never = report_blockers(options, pid) => match never {},
    }
    // Closing the connection releases the lock.
    connection.close().await?;
    Ok(())
}

async fn apply_on(connection: &mut PgConnection, migrator: &Migrator) -> Result<(), MigrateError> {
    schema_change::lock(connection).await?;
    let applied = applied(connection).await?;
    for migration in
        migrator.iter().filter(|migration| migration.no_tx && !applied.contains(&migration.version))
    {
        drop_invalid_indexes(connection, &migration.sql).await?;
    }
    migrator.run(&mut *connection).await?;
    distribution::complete(connection).await?;
    renumber_changes(connection).await?;
    Ok(())
}

/// Not a migration, since it belongs to each restore of a dump and not to the schema.
async fn renumber_changes(connection: &mut PgConnection) -> sqlx::Result<()> {
    let exists: bool = sqlx::query_scalar("select to_regclass('organisation_change_origin') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(());
    }
    match Layout::read_on(connection).await? {
        Layout::Single => {
            if change_origin::renumber_if_foreign(connection).await? {
                tracing::info!("the changes of relations are numbered in this database");
            }
            Ok(())
        }
        Layout::Distributed => change_origin::renumber_distributed(connection).await,
    }
}

/// Drops the invalid index that an interrupted `create index concurrently` of this migration left behind. With `if not exists` the
/// migration can then be applied again, as it can where only the record of it was lost.
async fn drop_invalid_indexes(connection: &mut PgConnection, migration: &str) -> sqlx::Result<()> {
    let invalid: Vec<String> = sqlx::query_scalar(
        "select indexrelid::regclass::text from pg_index join pg_class on pg_class.oid = indexrelid
         where not indisvalid and pg_table_is_visible(indexrelid) and $1 ~ ('\\m' || relname || '\\M')",
    )
    .bind(migration)
    .fetch_all(&mut *connection)
    .await?;
    for index in invalid {
        tracing::warn!(index, "dropping the index that an interrupted migration left invalid");
        sqlx::raw_sql(&format!("drop index concurrently if exists {index}"))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Logs what the migrating session waits for, at once and when it changes. Never returns.
async fn report_blockers(options: &PgConnectOptions, pid: i32) -> Infallible {
    let mut reported = Vec::new();
    loop {
        tokio::time::sleep(REPORT_INTERVAL).await;
        match blockers(options, pid).await {
            Ok(blockers) if blockers != reported => {
                for blocker in &blockers {
                    tracing::warn!("the migration waits for {blocker}");
                }
                reported = blockers;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "cannot tell what the migration waits for"),
        }
    }
}

/// The sessions that hold a lock which the migrating session needs, or the lock of migrations, and how to end them, unless they
/// migrate as well. Roles without `pg_read_all_stats` are not told all of a session of another role.
async fn blockers(options: &PgConnectOptions, pid: i32) -> sqlx::Result<Vec<String>> {
    let mut connection = connect::connect(options, SESSION).await?;
    let blockers = sqlx::query_scalar(
        "select concat(
             'process ', pid, ' of the database (', concat_ws(', ',
                 'role ' || usename, nullif(application_name, ''), 'from ' || host(client_addr), state,
                 'its transaction began at ' || date_trunc('second', xact_start)
             ), ')', case when application_name is distinct from $3 then format('; `select pg_terminate_backend(%s)` ends it', pid) end
         )
         from pg_stat_activity
         where pid = any(pg_blocking_pids($1)) or pid <> $1 and pid in (
             select pid from pg_locks
             where locktype = 'advisory' and granted and objsubid = 1
               and database = (select oid from pg_database where datname = current_database())
               and (classid::int8 << 32) | objid::int8 = $2
         )
         union all
         select 'a prepared transaction (pg_prepared_xacts)' where 0 = any(pg_blocking_pids($1))
         order by 1",
    )
    .bind(pid)
    .bind(LOCK)
    .bind(SESSION.application_name)
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    Ok(blockers)
}

/// Counts the migrations that this database lacks; changes nothing.
pub async fn pending(options: &PgConnectOptions) -> sqlx::Result<usize> {
    let mut connection = PgConnection::connect_with(options).await?;
    let pending = pending_on(&mut connection).await?;
    connection.close().await?;
    Ok(pending)
}

pub(super) async fn pending_on(connection: &mut PgConnection) -> sqlx::Result<usize> {
    let applied = applied(connection).await?;
    Ok(MIGRATOR.iter().filter(|migration| !applied.contains(&migration.version)).count())
}

/// The versions of the applied migrations.
async fn applied(connection: &mut PgConnection) -> sqlx::Result<Vec<i64>> {
    let known: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !known {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(connection).await
}

/// Caches whether the schema is current.
#[derive(Default)]
pub struct Schema {
    /// Stays true, as migrations are only added.
    current: AtomicBool,
}

impl Schema {
    /// Whether the database has every migration. Makes a round trip in any case, so that an unavailable database is an error.
    pub async fn is_current(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        if self.current.load(Ordering::Relaxed) {
            connection.ping().await?;
            return Ok(true);
        }
        let current = pending_on(connection).await? == 0;
        self.current.store(current, Ordering::Relaxed);
        Ok(current)
    }
}
