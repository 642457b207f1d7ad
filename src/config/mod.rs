//! What an operator may set. Each setting is a flag and a variable of the environment, `--request-timeout` and
//! `CUSTOMER_MATCH_REQUEST_TIMEOUT`; a flag wins. Secrets have a twin that names a file, `…-file` and `…_FILE`.
//!
//! | concern | settings |
//! |---|---|
//! | [`Listen`] | `--listen` |
//! | [`Tls`] | `--tls-certificate`, `--tls-key` |
//! | [`Start`] | `--migrate`, `--demo`, `--no-demo`, `--wait-for-database` |
//! | [`Database`] | `--database-url` (also `DATABASE_URL`), `--database-url-file`, `--data-dir`, `--postgres-bin-dir` |
//! | [`Pool`] | `--database-max-connections` |
//! | [`RateLimits`] | `--prod-limit-per-minute`, `--dev-limit-per-minute`, `--invalid-key-limit-per-minute` |
//! | [`TrustedProxies`] | `--trusted-proxy` (`CUSTOMER_MATCH_TRUSTED_PROXIES`) |
//! | [`Log`], of every subcommand | `--log-format`, `--log-level` (also `RUST_LOG`) |
//! | [`Cors`] | `--cors-origin` (`CUSTOMER_MATCH_CORS_ORIGINS`) |
//! | [`Metrics`] | `--metrics-listen` |
//! | [`Limits`] | `--max-connections`, `--max-connections-per-client-ip`, `--max-concurrent-requests` |
//! | [`Timeouts`] | `--header-timeout`, `--idle-timeout`, `--body-timeout`, `--request-timeout`, `--shutdown-timeout` |
//!
//! A file is one concern: its flags, and why a default is what it is. What settings have to do with each other is checked
//! here, before anything is started ([`Config::check`]).

mod cors;
mod database;
mod limits;
mod listen;
mod log;
mod metrics;
mod pool;
mod rate_limits;
mod start;
mod timeouts;
mod tls;
mod trusted_proxies;

pub use cors::Cors;
pub use database::Database;
pub use limits::Limits;
pub use listen::{Listen, ListenAddress};
pub use log::{Log, LogFormat};
pub use metrics::Metrics;
pub use pool::Pool;
pub use rate_limits::{RateLimits, limit_per_minute};
pub use start::Start;
pub use timeouts::Timeouts;
pub use tls::Tls;
pub use trusted_proxies::TrustedProxies;

use clap::{Args, Command, FromArgMatches};

/// Everything that `customer-match serve` takes.
#[derive(Args, Debug, Clone)]
#[expect(missing_docs, reason = "each concern says what it is")]
pub struct Config {
    #[command(flatten)]
    pub listen: Listen,
    #[command(flatten)]
    pub tls: Tls,
    #[command(flatten)]
    pub start: Start,
    #[command(flatten)]
    pub database: Database,
    #[command(flatten)]
    pub pool: Pool,
    #[command(flatten)]
    pub rate_limits: RateLimits,
    #[command(flatten)]
    pub trusted_proxies: TrustedProxies,
    #[command(flatten)]
    pub cors: Cors,
    #[command(flatten)]
    pub metrics: Metrics,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    pub timeouts: Timeouts,
}

/// Settings that cannot be meant, in one line that names them. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Refuses unless the settings make sense.
fn require(sense: bool, otherwise: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if sense { Ok(()) } else { Err(ConfigError(otherwise())) }
}

/// A variable that other programs know too; an empty one is not there. One that is no text is wrong, and not absent.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    Some(value.to_string_lossy().into_owned()).filter(|text| !text.trim().is_empty())
}

impl Config {
    /// These flags and the defaults of all others, whatever the environment says.
    pub fn from_flags(flags: &[&str]) -> Result<Self, clap::Error> {
        let command = Self::augment_args(Command::new("serve").no_binary_name(true));
        let matches = command.mut_args(|arg| arg.env(None::<&str>)).try_get_matches_from(flags)?;
        Self::from_arg_matches(&matches)
    }

    /// Refuses settings that contradict each other or that name what is not there.
    pub fn check(&self) -> Result<(), ConfigError> {
        let private = self.database.connect_options()?.is_none();
        require(private || !self.start.demo(private), || {
            "--demo is for the private Postgres: it would register a key that everybody knows in your database".into()
        })?;
        let listen = &self.listen.address;
        require(self.metrics.address.as_ref().is_none_or(|metrics| !metrics.collides_with(listen)), || {
            format!("--listen and --metrics-listen are both {listen}: metrics need a listener of their own")
        })?;
        self.limits.check()?;
        self.tls.server_config()?;
        self.timeouts.check()
    }
}
