//! Which Postgres a subcommand works on: the one of `DATABASE_URL`, or the private one.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::db;
use crate::db::migration;
use crate::private_postgres::{PrivatePostgres, Settings};

#[derive(Args)]
pub(super) struct DatabaseArgs {
    /// Postgres to use, as postgres://USER:PASSWORD@HOST/DATABASE; also read from DATABASE_URL. Without it a private
    /// Postgres is used.
    #[arg(long, value_name = "URL", env = "CUSTOMER_MATCH_DATABASE_URL", hide_env_values = true, value_parser = secret)]
    database_url: Option<SecretString>,
    /// Folder of the private Postgres [default: the platform's data folder].
    #[arg(long, value_name = "DIR", env = "CUSTOMER_MATCH_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Folder with the programs of Postgres, initdb among them, for the private one [default: searched for].
    #[arg(long, value_name = "DIR", env = "CUSTOMER_MATCH_POSTGRES_BIN_DIR")]
    postgres_bin_dir: Option<PathBuf>,
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}

/// A database, ready for connections.
pub(super) struct Database {
    pub(super) options: PgConnectOptions,
    /// Present when it is ours: whoever opened it closes it.
    pub(super) private: Option<PrivatePostgres>,
}

impl DatabaseArgs {
    /// For the server: the private Postgres is its own as long as it runs.
    pub(super) async fn open_for_serving(&self) -> anyhow::Result<Database> {
        match self.external()? {
            Some(options) => Ok(Database { options, private: None }),
            None => Ok(Database::from(PrivatePostgres::start(&self.settings()).await?)),
        }
    }

    /// For a one-off subcommand: the private Postgres may belong to a server that runs.
    pub(super) async fn open(&self) -> anyhow::Result<Database> {
        match self.external()? {
            Some(options) => Ok(Database { options, private: None }),
            None => Ok(Database::from(PrivatePostgres::attach_or_start(&self.settings()).await?)),
        }
    }

    fn settings(&self) -> Settings {
        Settings { data_dir: self.data_dir.clone(), bin_dir: self.postgres_bin_dir.clone() }
    }

    fn external(&self) -> anyhow::Result<Option<PgConnectOptions>> {
        let usual = || std::env::var("DATABASE_URL").ok().map(SecretString::from);
        // An empty variable is how many a tool unsets one.
        let given = |url: &SecretString| !url.expose_secret().is_empty();
        let url = self.database_url.clone().filter(given).or_else(|| usual().filter(given));
        let Some(url) = url else { return Ok(None) };
        // The cause is left out: it may quote the URL, which holds a password.
        let options = PgConnectOptions::from_str(url.expose_secret())
            .ok()
            .context("the database URL is not of the form postgres://USER:PASSWORD@HOST/DATABASE")?;
        Ok(Some(options))
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

    pub(super) fn pool(&self) -> PgPool {
        db::pool(self.options.clone())
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
        let pool = database.pool();
        let result = work(&pool).await;
        pool.close().await;
        result
    }
    .await;
    database.close().await?;
    result
}
