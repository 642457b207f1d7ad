//! The settings of the server. Each is a flag and an environment variable, `--request-timeout` and
//! `CUSTOMER_MATCH_REQUEST_TIMEOUT`; the flag takes precedence. Secrets can also be read from a file, `…-file` and `…_FILE`.
//!
//! | concern | settings |
//! |---|---|
//! | [`Listen`] | `--listen` |
//! | [`Tls`] | `--tls-certificate`, `--tls-key` |
//! | [`Start`] | `--migrate`, `--demo`, `--no-demo`, `--wait-for-database` |
//! | [`Database`] | `--database-url` (also `DATABASE_URL`), `--database-url-file`, `--data-dir`, `--postgres-bin-dir` |
//! | [`Pool`] | `--database-max-connections` |
//! | [`Replica`] | `--replica-database-url`, `--replica-database-url-file`, `--max-replica-lag` |
//! | [`RateLimits`] | `--prod-limit-per-minute`, `--dev-limit-per-minute`, `--invalid-key-limit-per-minute` |
//! | [`TrustedProxies`] | `--trusted-proxy` (`CUSTOMER_MATCH_TRUSTED_PROXIES`) |
//! | [`Log`], for every subcommand | `--log-format`, `--log-level` (also `RUST_LOG`) |
//! | [`AccessLog`] | `--no-log-client-ip` |
//! | [`ServerTiming`] | `--server-timing` |
//! | [`Cors`] | `--cors-origin` (`CUSTOMER_MATCH_CORS_ORIGINS`) |
//! | [`Admin`] | `--admin-listen` |
//! | [`Limits`] | `--max-connections`, `--max-connections-per-client-ip`, `--max-concurrent-requests` |
//! | [`Timeouts`] | `--header-timeout`, `--idle-timeout`, `--body-timeout`, `--request-timeout`, `--filter-timeout`, `--shutdown-timeout` |
//!
//! Each file holds one concern: its flags with the heading that the help has them under, and the reasons of their defaults. [`Config::check`] rejects settings that contradict
//! each other before anything is started. A new setting also goes into the table of docs/operations.md, which a test compares.

mod access_log;
mod admin;
mod cors;
mod database;
mod limits;
mod listen;
mod log;
mod pool;
mod rate_limits;
mod replica;
mod server_timing;
mod start;
mod timeouts;
mod tls;
mod trusted_proxies;

pub use access_log::AccessLog;
pub use admin::Admin;
pub use cors::Cors;
pub use database::Database;
pub use limits::Limits;
pub use listen::{Listen, ListenAddress};
pub use log::{Log, LogFormat};
pub use pool::Pool;
pub use rate_limits::{RateLimits, limit_per_minute};
pub use replica::Replica;
pub use server_timing::ServerTiming;
pub use start::Start;
pub use timeouts::Timeouts;
pub use tls::{LoadedCertificate, Tls};
pub use trusted_proxies::TrustedProxies;

use std::net::SocketAddr;

use clap::{Args, Command, FromArgMatches};

/// The settings of `customer-match serve`.
#[derive(Args, Debug, Clone)]
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
    pub replica: Replica,
    #[command(flatten)]
    pub rate_limits: RateLimits,
    #[command(flatten)]
    pub trusted_proxies: TrustedProxies,
    #[command(flatten)]
    pub access_log: AccessLog,
    #[command(flatten)]
    pub server_timing: ServerTiming,
    #[command(flatten)]
    pub cors: Cors,
    #[command(flatten)]
    pub admin: Admin,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    pub timeouts: Timeouts,
}

/// Invalid or contradictory settings, in one line that names them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

fn require(valid: bool, message: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if valid { Ok(()) } else { Err(ConfigError(message())) }
}

/// An environment variable without our prefix. An empty one counts as unset; one that is not UTF-8 is an invalid value, not
/// an absent one.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    Some(value.to_string_lossy().into_owned()).filter(|text| !text.trim().is_empty())
}

impl Config {
    /// Parses flags without the environment, for tests.
    pub fn from_flags(flags: &[&str]) -> Result<Self, clap::Error> {
        let command = Self::augment_args(Command::new("serve").no_binary_name(true));
        let matches = command.mut_args(|arg| arg.env(None::<&str>)).try_get_matches_from(flags)?;
        Self::from_arg_matches(&matches)
    }

    /// Whether no other machine reaches a server on this address: it is a loopback address, and no proxy passes requests on.
    pub fn is_only_local(&self, address: SocketAddr) -> bool {
        address.ip().to_canonical().is_loopback() && self.trusted_proxies.is_empty()
    }

    /// Rejects settings that contradict each other, and files that cannot be used.
    pub fn check(&self) -> Result<(), ConfigError> {
        let private = self.database.connect_options()?.is_none();
        require(private || !self.start.demo(private, false), || {
            "--demo is for the private Postgres: it would register a publicly known key in your database"
                .into()
        })?;
        let replica = self.replica.connect_options()?;
        require(!private || replica.is_none(), || {
            "--replica-database-url names a standby of the database, and the private Postgres has none: give a database URL too"
                .into()
        })?;
        let listen = &self.listen.address;
        require(self.admin.address.as_ref().is_none_or(|admin| !admin.collides_with(listen)), || {
            format!("--listen and --admin-listen are both {listen}: operators need a separate listen address")
        })?;
        self.limits.check()?;
        self.tls.load()?;
        self.timeouts.check()
    }
}
