//! The database: a Postgres by its URL, or the private one.

use std::borrow::Cow;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use super::{ConfigError, require, variable};

/// Checked here, as the driver accepts any scheme.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Database")]
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

pub(super) fn secret(text: &str) -> Result<SecretString, Infallible> {
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
        parse_secret("the database URL", &url).map(Some)
    }

    fn url(&self) -> Result<Option<SecretString>, ConfigError> {
        let named = named("--database-url", self.url.as_ref(), self.url_file.as_deref())?;
        Ok(named.or_else(|| variable("DATABASE_URL").map(SecretString::from)))
    }
}

/// The URL that a flag names, itself or by its file.
pub(super) fn named(
    flag: &str,
    url: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretString>, ConfigError> {
    let Some(file) = file else { return Ok(url.cloned()) };
    require(url.is_none(), || format!("give {flag} or {flag}-file, not both"))?;
    let content = std::fs::read_to_string(file).map_err(|error| {
        ConfigError::new(format!("{flag}-file: {} cannot be read: {error}", file.display()))
    })?;
    Ok(Some(SecretString::from(content.trim())))
}

/// An error is without its cause, which may quote the URL and so a password.
pub(super) fn parse_secret(name: &str, url: &SecretString) -> Result<PgConnectOptions, ConfigError> {
    let form = || format!("{name} is not of the form postgres://USER:PASSWORD@HOST/DATABASE");
    parse(url.expose_secret()).ok_or_else(|| ConfigError::new(form()))
}

fn parse(url: &str) -> Option<PgConnectOptions> {
    if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        return None;
    }
    let (url, without_host) = with_host(url);
    let mut options = PgConnectOptions::from_str(&url).ok()?;
    if without_host && options.get_socket().is_none() && options.get_host() == NO_HOST {
        options = options.host(PgConnectOptions::new_without_pgpass().get_host());
    }
    // PgBouncer rejects it as a start-up option; floating-point numbers are exact without it.
    let options = options.extra_float_digits(None);
    // libpq would try several hosts, the driver would look for one of that name.
    Some(options).filter(|options| !options.get_host().contains(','))
}

/// A name that no host has (RFC 6761).
const NO_HOST: &str = "no-host.invalid";

/// libpq accepts a user or a port without a host, which is then a parameter, such as `postgres://user@/database?host=/socket/dir`,
/// or the default. The driver's URL parser does not. Also whether a host was inserted.
fn with_host(url: &str) -> (Cow<'_, str>, bool) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.into(), false) };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = authority.rfind('@').map_or(0, |at| at + 1);
    if authority.is_empty() || !(authority[host..].is_empty() || authority[host..].starts_with(':')) {
        return (url.into(), false);
    }
    (format!("{scheme}://{}{NO_HOST}{}", &rest[..host], &rest[host..]).into(), true)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::*;

    /// What libpq's documentation gives as examples, and what follows from it.
    #[rstest]
    #[case("postgres:///db?host=/socket/dir", "/socket/dir", 5432, None)]
    #[case("postgres://u:p@/db?host=/socket/dir", "/socket/dir", 5432, Some("u"))]
    #[case("postgresql://u@/db?host=/socket/dir&port=5433", "/socket/dir", 5433, Some("u"))]
    #[case("postgres://u:p@:5433/db?host=/socket/dir", "/socket/dir", 5433, Some("u"))]
    #[case("postgres://:5433/db?host=/socket/dir", "/socket/dir", 5433, None)]
    #[case("postgres:///db?host=/socket/dir&user=u&password=p", "/socket/dir", 5432, Some("u"))]
    #[case("postgres:///?host=/socket/dir&dbname=db", "/socket/dir", 5432, None)]
    #[case("postgres://?host=/socket/dir&dbname=db", "/socket/dir", 5432, None)]
    #[case("postgres://u:p%40%2F@/db?host=/socket/dir", "/socket/dir", 5432, Some("u"))]
    #[case("postgres://u@%2Fsocket%2Fdir/db", "/socket/dir", 5432, Some("u"))]
    #[case("postgres://%2Fsocket%2Fdir:5433/db", "/socket/dir", 5433, None)]
    fn a_socket_is_named_as_for_libpq(
        #[case] url: &str,
        #[case] socket: &str,
        #[case] port: u16,
        #[case] user: Option<&str>,
    ) {
        let options = parse(url).unwrap();
        assert_eq!(options.get_socket().map(AsRef::as_ref), Some(Path::new(socket)));
        assert_eq!((options.get_port(), options.get_database()), (port, Some("db")));
        assert!(user.is_none_or(|user| options.get_username() == user));
    }

    #[rstest]
    #[case("postgres://u:p@host/db", "host", 5432)]
    #[case("postgres://u:p@host:5433/db", "host", 5433)]
    #[case("postgres://u:p@/db?host=host", "host", 5432)]
    #[case("postgres://u@:5433/db?host=host", "host", 5433)]
    #[case("postgres:///db?host=host", "host", 5432)]
    #[case("postgres://u@[::1]:5433/db", "[::1]", 5433)]
    #[case("postgres://u@/db?hostaddr=192.0.2.1", "192.0.2.1", 5432)]
    fn a_host_is_named_as_for_libpq(#[case] url: &str, #[case] host: &str, #[case] port: u16) {
        let options = parse(url).unwrap();
        assert_eq!((options.get_socket(), options.get_host(), options.get_port()), (None, host, port));
        assert_eq!(options.get_database(), Some("db"));
    }

    #[rstest]
    #[case("postgres://")]
    #[case("postgres:///db")]
    #[case("postgres://u@")]
    #[case("postgres://u:p@/db")]
    #[case("postgres://:5432/db")]
    fn without_any_host_it_is_the_default(#[case] url: &str) {
        let default = PgConnectOptions::new_without_pgpass();
        assert_eq!(parse(url).unwrap().get_host(), default.get_host());
    }

    #[rstest]
    #[case("mysql://host/db")]
    #[case("host/db")]
    #[case("postgres:host")]
    #[case("host=/socket/dir dbname=db")]
    #[case("postgres://u@host:port/db")]
    #[case("postgres://u@/db?port=none")]
    #[case("postgres://u:p@first,second:5433/db")]
    fn other_forms_are_rejected(#[case] url: &str) {
        assert!(parse(url).is_none());
    }
}
