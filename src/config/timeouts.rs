//! How long things may take. They form a ladder, each step shorter than the next (see docs/operations.md).

use std::time::Duration;

use clap::Args;

use super::{ConfigError, require};

/// Longer than a slow line needs for a few hundred octets.
const HEADER: &str = "10s";
/// Longer than the 60 s after which most proxies drop an idle connection: they should do it, as they know what they send.
const IDLE: &str = "75s";
/// Longer than a slow line needs for the longest notice.
const BODY: &str = "10s";
/// Longer than a body may take to come and the database to answer together: what the database is late with is refused
/// before this.
const REQUEST: &str = "20s";
/// Longer than a request may take.
const SHUTDOWN: &str = "22s";

/// See the fields. Values are such as `500ms`, `10s`, `1m`.
#[derive(Args, Debug, Clone, Copy)]
pub struct Timeouts {
    /// How long a client may take to connect and send the headers of a request; later it is let go.
    #[arg(long = "header-timeout", value_name = "TIME", default_value = HEADER, value_parser = timeout,
          env = "CUSTOMER_MATCH_HEADER_TIMEOUT")]
    pub header: Duration,
    /// How long a connection may be idle between two requests, or not read its answer; later it is closed.
    #[arg(long = "idle-timeout", value_name = "TIME", default_value = IDLE, value_parser = timeout,
          env = "CUSTOMER_MATCH_IDLE_TIMEOUT")]
    pub idle: Duration,
    /// How long a client may take to send the body of a request; later it is answered 408.
    #[arg(long = "body-timeout", value_name = "TIME", default_value = BODY, value_parser = timeout,
          env = "CUSTOMER_MATCH_BODY_TIMEOUT")]
    pub body: Duration,
    /// How long a request may take from its headers to its answer; later it is answered 503.
    #[arg(long = "request-timeout", value_name = "TIME", default_value = REQUEST, value_parser = timeout,
          env = "CUSTOMER_MATCH_REQUEST_TIMEOUT")]
    pub request: Duration,
    /// How long requests under way have to be answered once the server is told to stop.
    #[arg(long = "shutdown-timeout", value_name = "TIME", default_value = SHUTDOWN, value_parser = timeout,
          env = "CUSTOMER_MATCH_SHUTDOWN_TIMEOUT")]
    pub shutdown: Duration,
}

/// The range that any of them may be in: nothing works in less, and more is a mistake in the unit.
const RANGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// A time as it is written everywhere.
fn parse(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 500ms, 10s or 1m"))
}

/// How long to wait for something at the start: not at all, or up to a day.
pub(super) fn startup_wait(text: &str) -> Result<Duration, String> {
    let time = parse(text)?;
    if time <= Duration::from_secs(24 * 3600) { Ok(time) } else { Err("must not be more than 1day".into()) }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let time = parse(text)?;
    if RANGE.contains(&time) { Ok(time) } else { Err("must be between 100ms and 1h".into()) }
}

impl Timeouts {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let ladder = |below: (&str, Duration), above: (&str, Duration)| {
            require(below.1 < above.1, || {
                let [low, high] = [below.1, above.1].map(humantime::format_duration);
                format!("{} ({low}) must be shorter than {} ({high})", below.0, above.0)
            })
        };
        let request = ("--request-timeout", self.request);
        ladder(("--body-timeout", self.body), request)?;
        ladder(request, ("--shutdown-timeout", self.shutdown))
    }
}
