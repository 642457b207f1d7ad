//! Which Postgres is used.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use super::{ConfigError, require, variable};

/// How the URL of a Postgres begins; the driver takes any scheme.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// See the fields.
#[derive(Args, Debug, Clone)]
pub struct Database {
    /// Postgres to use, as postgres://USER:PASSWORD@HOST/DATABASE; also read from DATABASE_URL. Without it a private
    /// Postgres is used.
    #[arg(long = "database-url", value_name = "URL", env = "CUSTOMER_MATCH_DATABASE_URL", hide_env_values = true,
          value_parser = secret)]
    url: Option<SecretString>,
    /// File with the database URL in it.
    #[arg(long = "database-url-file", value_name = "FILE", env = "CUSTOMER_MATCH_DATABASE_URL_FILE")]
    url_file: Option<PathBuf>,
    /// Folder of the private Postgres [default: the platform's data folder].
    #[arg(long, value_name = "DIR", env = "CUSTOMER_MATCH_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder with the programs of Postgres, initdb among them, for the private one [default: searched for].
    #[arg(long, value_name = "DIR", env = "CUSTOMER_MATCH_POSTGRES_BIN_DIR")]
    pub postgres_bin_dir: Option<PathBuf>,
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}

impl Database {
    /// How to connect to the Postgres that is named; `None` for the private one.
    pub fn connect_options(&self) -> Result<Option<PgConnectOptions>, ConfigError> {
        let Some(url) = self.url()? else { return Ok(None) };
        require(self.data_dir.is_none(), || {
            "--data-dir is for the private Postgres, and a database URL names another: leave out one of them"
                .into()
        })?;
        let url = url.expose_secret();
        let is_postgres = SCHEMES.iter().any(|scheme| url.starts_with(scheme));
        // The cause is left out: it may quote the URL, which holds a password.
        let options = PgConnectOptions::from_str(url).ok().filter(|_| is_postgres);
        let form = "the database URL is not of the form postgres://USER:PASSWORD@HOST/DATABASE";
        options.map(Some).ok_or_else(|| ConfigError::new(form))
    }

    fn url(&self) -> Result<Option<SecretString>, ConfigError> {
        let Some(file) = &self.url_file else {
            return Ok(self.url.clone().or_else(|| variable("DATABASE_URL").map(SecretString::from)));
        };
        require(self.url.is_none(), || "give --database-url or --database-url-file, not both".into())?;
        let content = std::fs::read_to_string(file).map_err(|error| {
            ConfigError::new(format!("--database-url-file: {} cannot be read: {error}", file.display()))
        })?;
        Ok(Some(SecretString::from(content.trim())))
    }
}
