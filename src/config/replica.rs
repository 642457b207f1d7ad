//! A read replica of the database.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;

use super::database::{named, parse_secret, secret};
use super::{ConfigError, timeouts};

/// Several times what a standby in the same data centre needs, and less than a person notices: a read waits for so long.
const MAX_LAG: &str = "100ms";

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Database")]
pub struct Replica {
    /// URL of a standby of the database, which answers lists by cuRefNo and changes in its place [default: none]
    #[arg(id = "replica-database-url", long, value_name = "URL", env = "CUSTOMER_MATCH_REPLICA_DATABASE_URL",
          hide_env_values = true, value_parser = secret)]
    url: Option<SecretString>,
    /// File that contains the URL of the standby
    #[arg(
        id = "replica-database-url-file",
        long,
        value_name = "FILE",
        env = "CUSTOMER_MATCH_REPLICA_DATABASE_URL_FILE"
    )]
    url_file: Option<PathBuf>,
    /// Time that a read waits for the standby to replay what was committed before; while its lag is longer, the database
    /// answers
    #[arg(id = "max-replica-lag", long, value_name = "TIME", default_value = MAX_LAG,
          value_parser = timeouts::replica_lag, env = "CUSTOMER_MATCH_MAX_REPLICA_LAG")]
    pub max_lag: Duration,
}

impl Replica {
    pub fn connect_options(&self) -> Result<Option<PgConnectOptions>, ConfigError> {
        let url = named("--replica-database-url", self.url.as_ref(), self.url_file.as_deref())?;
        url.map(|url| parse_secret("the URL of --replica-database-url", &url)).transpose()
    }
}
