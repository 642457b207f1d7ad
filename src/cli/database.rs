//! Which Postgres a subcommand works on: the one of `DATABASE_URL`, or the private one.

use anyhow::{Context, bail};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

pub(super) use crate::config::Database as DatabaseArgs;
use crate::db::{self, migration};
use crate::private_postgres::{PrivatePostgres, Settings};

/// What an import has under way at once needs no more beside the writer's own.
const ONE_OFF_CONNECTIONS: u32 = 16;

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
