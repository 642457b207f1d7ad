//! Opens the database of a subcommand: that of the database URL, or the private Postgres without one.

use std::io;
use std::time::Duration;

use anyhow::{Context, bail};
use backon::{ExponentialBuilder, Retryable};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{Instant, timeout};

pub(super) use crate::config::Database as DatabaseArgs;
use crate::db::{self, migration};
use crate::private_postgres::{PrivatePostgres, Settings};

/// Enough for the concurrent statements of an import, beside the connections of its writers.
const ONE_SHOT_CONNECTIONS: u32 = 16;
/// Client-side timeout of one attempt, as a broken network may never deliver an error.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);

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
            let connection = connecting.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
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
            .context("the database cannot be reached")
    }

    /// Migrates a private Postgres, as no one else does. With a database URL, pending migrations are an error unless `migrate`
    /// is set: other versions of the server may use that database.
    pub(super) async fn ensure_current(&self, migrate: bool) -> anyhow::Result<()> {
        if self.private.is_some() || migrate {
            return self.migrate().await;
        }
        let pending = migration::pending(&self.options).await.context("the database cannot be read")?;
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
