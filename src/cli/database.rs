//! Which Postgres a subcommand works on: the one of `DATABASE_URL`, or the private one.

use std::io;
use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{Instant, sleep, timeout};

pub(super) use crate::config::Database as DatabaseArgs;
use crate::db::{self, migration};
use crate::private_postgres::{PrivatePostgres, Settings};

/// What an import has under way at once needs no more beside the writer's own.
const ONE_OFF_CONNECTIONS: u32 = 16;
/// How long one attempt to reach the database may take, where nothing answers at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Between the first two attempts; it doubles with each, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// A database, ready for connections.
pub(super) struct Database {
    pub(super) options: PgConnectOptions,
    /// Present when it is ours: whoever opened it closes it.
    pub(super) private: Option<PrivatePostgres>,
}

impl DatabaseArgs {
    /// For the server: the private Postgres is its own as long as it runs.
    pub(super) async fn open_for_serving(&self) -> anyhow::Result<Database> {
        match self.connect_options()? {
            Some(options) => Ok(Database { options, private: None }),
            None => Ok(Database::from(PrivatePostgres::start(&self.settings()).await?)),
        }
    }

    /// For a one-off subcommand: the private Postgres may belong to a server that runs.
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
    /// Waits until the database can be reached, with a line in the log for each attempt that fails. What waiting does not
    /// mend, a wrong password say, is an error at once.
    pub(super) async fn wait(&self, longest: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + longest;
        let mut pause = FIRST_PAUSE;
        loop {
            let attempt = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&self.options)).await;
            let error = match attempt.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
            {
                Ok(connection) => {
                    let _ = connection.close().await;
                    return Ok(());
                }
                Err(error) => error,
            };
            if !db::is_transient(&error) || Instant::now() + pause > deadline {
                return Err(error).context("the database cannot be reached");
            }
            tracing::warn!(%error, "waiting for the database");
            sleep(pause).await;
            pause = MAX_PAUSE.min(pause * 2);
        }
    }

    /// Migrates a private Postgres, which is ours to keep current. Anybody else's is refused while migrations are
    /// pending, unless the command line asks for them.
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

    /// Stops the private Postgres if this process started it.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        if let Some(private) = self.private {
            private.stop().await?;
        }
        Ok(())
    }
}

/// Runs a one-off subcommand's work on a current database and closes everything behind it.
pub(super) async fn with_pool<T>(
    args: &DatabaseArgs,
    work: impl AsyncFnOnce(&PgPool) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let database = args.open().await?;
    let result = async {
        database.ensure_current(false).await?;
        let pool = database.pool(ONE_OFF_CONNECTIONS);
        let result = work(&pool).await;
        pool.close().await;
        result
    }
    .await;
    database.close().await?;
    result
}
