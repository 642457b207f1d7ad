//! The database: a Postgres by its URL, or the private one.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use super::{ConfigError, require, variable};

/// Checked here, as the driver accepts any scheme.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

#[derive(Args, Debug, Clone)]
pub struct Database {
    /// Database URL, as postgres://USER:PASSWORD@HOST/DATABASE; also read from DATABASE_URL [default: a private Postgres]
    #[arg(long = "database-url", value_name = "URL", env = "CUSTOMER_MATCH_DATABASE_URL", hide_env_values = true,
          value_parser = secret)]
    url: Option<SecretString>,
    /// File that contains the database URL
    #[arg(long = "database-url-file", value_name = "FILE", env = "CUSTOMER_MATCH_DATABASE_URL_FILE")]
    url_file: Option<PathBuf>,
    /// Directory of the private Postgres [default: the data directory of the platform]
    #[arg(long, value_name = "DIR", env = "CUSTOMER_MATCH_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Directory of the binaries of the private Postgres, such as initdb [default: searched for]
    #[arg(long, value_name = "DIR", env = "CUSTOMER_MATCH_POSTGRES_BIN_DIR")]
    pub postgres_bin_dir: Option<PathBuf>,
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}

impl Database {
    /// The options of the database URL; `None` for the private Postgres.
    pub fn connect_options(&self) -> Result<Option<PgConnectOptions>, ConfigError> {
        let Some(url) = self.url()? else { return Ok(None) };
        require(self.data_dir.is_none(), || {
            "--data-dir is for the private Postgres, and a database URL names another one: give one of them"
                .into()
        })?;
        let url = url.expose_secret();
        let is_postgres = SCHEMES.iter().any(|scheme| url.starts_with(scheme));
        // Without the cause, which may quote the URL and so a password.
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
