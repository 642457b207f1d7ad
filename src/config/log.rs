//! What is logged, and how.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{ConfigError, variable};

/// What is worth a line; the driver repeats every notice of Postgres.
const FILTER: &str = "info,sqlx=warn";

/// See the fields. Every subcommand takes them.
#[derive(Args, Debug, Clone)]
pub struct Log {
    /// How to log, to stderr.
    #[arg(id = "log-format", long, value_enum, default_value_t = LogFormat::Auto, global = true,
          env = "CUSTOMER_MATCH_LOG_FORMAT")]
    pub format: LogFormat,
    /// What to log: error, warn, info, debug or trace, also by target (`warn,customer_match::http=debug`). Also read
    /// from RUST_LOG. [default: info,sqlx=warn]
    #[arg(id = "log-level", long, value_name = "FILTER", global = true, env = "CUSTOMER_MATCH_LOG_LEVEL",
          value_parser = directives)]
    level: Option<String>,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, else JSON
    Auto,
    /// For people
    Text,
    /// An object a line
    Json,
}

/// A word without a level would be taken for a target of which everything is logged, and nothing of all others.
fn directives(text: &str) -> Result<String, &'static str> {
    let sense = |part: &str| {
        part.trim().is_empty() || part.contains(['=', '[']) || part.trim().parse::<LevelFilter>().is_ok()
    };
    if text.split(',').all(sense) {
        Ok(text.into())
    } else {
        Err("must be a level, or a list of TARGET=LEVEL")
    }
}

impl Log {
    /// What to log.
    pub fn filter(&self) -> Result<EnvFilter, ConfigError> {
        let (name, text) = match self.level.clone() {
            Some(text) => ("--log-level", text),
            None => ("RUST_LOG", variable("RUST_LOG").unwrap_or_else(|| FILTER.into())),
        };
        EnvFilter::builder().parse(text.trim()).map_err(|error| {
            ConfigError::new(format!("{name} must be a level or a list of TARGET=LEVEL: {error}"))
        })
    }
}
