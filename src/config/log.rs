//! The level and the format of the log.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{ConfigError, variable};

/// sqlx logs every notice of Postgres at info.
const FILTER: &str = "info,sqlx=warn";

/// Every subcommand has these.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Log and measurements")]
pub struct Log {
    /// Format of the log on stderr
    #[arg(id = "log-format", long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Auto, global = true,
          env = "CUSTOMER_MATCH_LOG_FORMAT")]
    pub format: LogFormat,
    /// Level of the log: error, warn, info, debug or trace, also by target (`warn,customer_match::http=debug`); also read from
    /// RUST_LOG [default: info,sqlx=warn]
    #[arg(id = "log-level", long, value_name = "FILTER", global = true, env = "CUSTOMER_MATCH_LOG_LEVEL",
          value_parser = directives)]
    level: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// JSON for `serve` without a terminal, else text
    Auto,
    /// Text
    Text,
    /// One JSON object a line
    Json,
}

/// Rejects a word that is not a level: EnvFilter would take it for a target, log all of that and nothing else.
fn directives(text: &str) -> Result<String, &'static str> {
    let valid = |part: &str| {
        part.trim().is_empty() || part.contains(['=', '[']) || part.trim().parse::<LevelFilter>().is_ok()
    };
    if text.split(',').all(valid) {
        Ok(text.into())
    } else {
        Err("must be a level, or a list of TARGET=LEVEL")
    }
}

impl Log {
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
