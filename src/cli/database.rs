//! Opens the database of a subcommand: that of the database URL, or the private Postgres without one.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use backon::{ExponentialBuilder, Retryable};
use private_postgres::{PrivatePostgres, Settings};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

pub(super) use crate::config::Database as DatabaseArgs;
use crate::db::connect::{self, Pooling};
use crate::db::{self, Layout, durability, migration, prerequisites};

/// Enough for the concurrent statements of an import, beside the connections of its writers.
const ONE_SHOT_CONNECTIONS: u32 = 16;
/// Of a server beside its pool: writers (8), API keys (3), readiness (1), maintenance (1), the watcher of changes (1). With a replica
/// there is one more, for the position of the log.
const OTHER_CONNECTIONS: u32 = 14;
/// Client-side timeout of one attempt, as a broken network may never deliver an error.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Of the checks of a database, which take some round trips.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);

/// Says what to do where waiting does not help.
fn unreachable(error: sqlx::Error) -> anyhow::Error {
    if !db::is_unavailable(&error) {
        return anyhow::Error::new(error).context("the database cannot be read");
    }
    let remedy = match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some("28P01" | "28000") => "; check the user and the password in the database URL, and pg_hba.conf",
        Some("3D000") => "; create the database, or correct its name in the database URL",
        Some("42501") => "; `grant connect on database NAME to ROLE`",
        Some("55000") => "; let it accept connections: `alter database NAME allow_connections true`",
        _ => "",
    };
    anyhow::Error::new(error).context(format!("the database cannot be reached{remedy}"))
}

/// Bounds a check, as a broken network may never deliver an error.
pub(super) async fn bounded<T>(check: impl Future<Output = sqlx::Result<T>>) -> anyhow::Result<T> {
    timeout(CHECK_TIMEOUT, check).await.context("the database does not answer")?.map_err(unreachable)
}

/// Whether the same check may succeed later, by nothing but waiting.
pub(super) fn may_be_reachable_later(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Elapsed>() || cause.downcast_ref().is_some_and(db::is_transient))
}

/// Whether the directory is on tmpfs or ramfs (statfs(2)). False if it cannot be told.
fn is_in_memory(directory: &Path) -> bool {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58f6;
    rustix::fs::statfs(directory).is_ok_and(|file_system| {
        // The type has another width on each platform; the magic numbers have 32 bits.
        [TMPFS, RAMFS].contains(&(file_system.f_type as u32))
    })
}

pub(super) struct Database {
    pub(super) options: PgConnectOptions,
    /// Present if this process started or shares it; [`close`](Self::close) releases it.
    pub(super) private: Option<PrivatePostgres>,
}

impl DatabaseArgs {
    /// For the server, which becomes the owner of the private Postgres.
    pub(super) async fn open_for_serving(&self) -> anyhow::Result<Database> {
        match self.connect_options()? {
            Some(options) => Ok(Database { options, private: None }),
            None => Ok(Database::from(PrivatePostgres::start(&self.settings()).await?)),
        }
    }

    /// For a one-shot subcommand, which may share the private Postgres of a running server.
    pub(super) async fn open(&self) -> anyhow::Result<Database> {
        match self.connect_options()? {
            Some(options) => Ok(Database { options, private: None }),
            None => Ok(Database::from(PrivatePostgres::attach_or_start(&self.settings()).await?)),
        }
    }

    fn settings(&self) -> Settings {
        Settings { data_dir: self.data_dir.clone(), bin_dir: self.postgres_bin_dir.clone() }
    }
}

impl From<PrivatePostgres> for Database {
    fn from(private: PrivatePostgres) -> Self {
        Self { options: private.connect_options(), private: Some(private) }
    }
}

impl Database {
    /// Retries until a connection succeeds, for at most `max_wait`. An error that waiting cannot solve, such as a wrong
    /// password, is returned at once.
    pub(super) async fn wait(&self, max_wait: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + max_wait;
        let connect = async || {
            let connecting = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&self.options)).await;
            let mut connection = connecting.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            // A pooler accepts a connection before it has one to the database.
            let answering = timeout(CONNECT_TIMEOUT, connection.ping()).await;
            answering.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            let _ = connection.close().await;
            sqlx::Result::Ok(())
        };
        let backoff =
            ExponentialBuilder::new().with_min_delay(MIN_RETRY_DELAY).with_max_delay(MAX_RETRY_DELAY);
        connect
            .retry(backoff.without_max_times())
            .when(db::is_transient)
            .adjust(|_, delay| delay.filter(|delay| Instant::now() + *delay <= deadline))
            .notify(|error, _| tracing::warn!(%error, "waiting for the database"))
            .await
            .map_err(unreachable)
    }

    /// Rejects a database on which the server or a migration would fail later, before anything is written to it.
    pub(super) async fn check(&self) -> anyhow::Result<Pooling> {
        let pooling = self.pooling().await?;
        let missing = bounded(prerequisites::missing(&self.options)).await?;
        if !missing.is_empty() {
            bail!("the database cannot be used: {}", missing.join("; "));
        }
        Ok(pooling)
    }

    /// Rejects a pooler that shares sessions.
    pub(super) async fn pooling(&self) -> anyhow::Result<Pooling> {
        let pooling = match self.private {
            Some(_) => Pooling::None,
            None => bounded(connect::pooling(&self.options)).await?,
        };
        if pooling == Pooling::Shared {
            bail!(
                "a pooler before the database lets connections share their sessions (PgBouncer: pool_mode = transaction or \
                 statement), and this server needs sessions of its own: set pool_mode = session for this database, or name \
                 Postgres itself in the database URL"
            );
        }
        Ok(pooling)
    }

    /// The number of connections of the pool: as set, unless a pooler before the database has too few sessions. Connections that
    /// wait for a session there would fail, although the others could do their work.
    pub(super) async fn pool_size(
        &self,
        pooling: Pooling,
        wanted: u32,
        has_replica: bool,
    ) -> anyhow::Result<u32> {
        if pooling != Pooling::Session {
            return Ok(wanted);
        }
        let other = OTHER_CONNECTIONS + u32::from(has_replica);
        let needed = wanted + other;
        let given = bounded(connect::count_sessions(&self.options, needed)).await?;
        let size = given.saturating_sub(other).clamp(1, wanted);
        if given < needed {
            tracing::warn!(
                "the pooler before the database has {given} sessions for this server, which may use {needed}: the pool has {size} \
                 instead of {wanted} connections; raise default_pool_size (PgBouncer)"
            );
        }
        Ok(size)
    }

    /// Rejects a database that loses acknowledged writes when its machine crashes, unless that is allowed. What may be meant
    /// is a warning.
    pub(super) async fn check_durability(&self, allow_data_loss: bool) -> anyhow::Result<()> {
        let durability = bounded(durability::read(&self.options)).await?;
        if !durability.fsync && !allow_data_loss {
            bail!(
                "Postgres runs with fsync = off: when its machine crashes, acknowledged writes are lost. Set fsync = on, or \
                 accept it with --allow-data-loss"
            );
        }
        if !durability.full_page_writes {
            tracing::warn!(
                "Postgres runs with full_page_writes = off: when its machine crashes, the database may be broken, unless the \
                 file system writes pages atomically"
            );
        }
        // Of another machine the path says nothing.
        let local = self.options.get_socket().is_some();
        if let Some(data_dir) = durability.data_directory.filter(|data_dir| local && is_in_memory(data_dir)) {
            tracing::warn!(
                ?data_dir,
                "the data directory is in memory: a restart of the machine loses everything"
            );
        }
        Ok(())
    }

    /// Migrates a private Postgres, as no one else does. With a database URL, pending migrations are an error unless `migrate`
    /// is set: other versions of the server may use that database.
    pub(super) async fn ensure_current(&self, migrate: bool) -> anyhow::Result<()> {
        if self.private.is_some() || migrate {
            return self.migrate().await;
        }
        let pending = bounded(migration::pending(&self.options)).await?;
        if pending > 0 {
            bail!(
                "the database lacks {pending} migration(s): run `customer-match migrate`, or serve with --migrate"
            );
        }
        Ok(())
    }

    pub(super) async fn migrate(&self) -> anyhow::Result<()> {
        migration::run(&self.options).await.context("the migrations could not be applied")
    }

    pub(super) async fn layout(&self) -> anyhow::Result<Layout> {
        bounded(Layout::read(&self.options)).await
    }

    pub(super) fn pool(&self, max_connections: u32) -> PgPool {
        db::pool(self.options.clone(), max_connections)
    }

    /// Stops the private Postgres if this process owns it.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        if let Some(private) = self.private {
            private.stop().await?;
        }
        Ok(())
    }
}

/// Runs a one-shot subcommand on a migrated database, and closes the database.
pub(super) async fn with_pool<T>(
    args: &DatabaseArgs,
    work: impl AsyncFnOnce(&PgPool) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let database = args.open().await?;
    let result = async {
        database.check().await?;
        database.ensure_current(false).await?;
        let pool = database.pool(ONE_SHOT_CONNECTIONS);
        let result = work(&pool).await;
        pool.close().await;
        result
    }
    .await;
    database.close().await?;
    result
}
