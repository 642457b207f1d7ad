//! Timeouts of connections and requests. They form a ladder: each step is shorter than the next one, so that the step that
//! knows the reason answers (docs/operations.md).

use std::time::Duration;

use clap::Args;

use super::{ConfigError, require};

/// Longer than a slow network needs for a few hundred bytes.
const HEADER: &str = "10s";
/// Longer than the 60 s after which most proxies close an idle connection. The proxy should close it, as only it knows
/// whether it is about to send a request.
const IDLE: &str = "75s";
/// Longer than a slow network needs for the longest notice.
const BODY: &str = "10s";
/// Longer than the body and the database may take together, so that a late database is answered by its own timeout.
const REQUEST: &str = "20s";
/// With the walk that follows, a filter costs the database less than 100 ms.
const FILTER: &str = "75ms";
/// Longer than a request may take.
const SHUTDOWN: &str = "22s";

/// Values such as `500ms`, `10s` or `1m`.
#[derive(Args, Debug, Clone, Copy)]
#[command(next_help_heading = "Timeouts")]
pub struct Timeouts {
    /// Time to connect and to send the headers of a request; then the connection is closed
    #[arg(long = "header-timeout", value_name = "TIME", default_value = HEADER, value_parser = timeout,
          env = "CUSTOMER_MATCH_HEADER_TIMEOUT")]
    pub header: Duration,
    /// Time that a connection may be idle between two requests, or not read its response; then it is closed
    #[arg(long = "idle-timeout", value_name = "TIME", default_value = IDLE, value_parser = timeout,
          env = "CUSTOMER_MATCH_IDLE_TIMEOUT")]
    pub idle: Duration,
    /// Time to send the body of a request; then the answer is 408
    #[arg(long = "body-timeout", value_name = "TIME", default_value = BODY, value_parser = timeout,
          env = "CUSTOMER_MATCH_BODY_TIMEOUT")]
    pub body: Duration,
    /// Time from the headers of a request to its response; then the answer is 503
    #[arg(long = "request-timeout", value_name = "TIME", default_value = REQUEST, value_parser = timeout,
          env = "CUSTOMER_MATCH_REQUEST_TIMEOUT")]
    pub request: Duration,
    /// Time that the filter of a long list may search the index; then the list is walked, and not counted
    #[arg(long = "filter-timeout", value_name = "TIME", default_value = FILTER, value_parser = filter_timeout,
          env = "CUSTOMER_MATCH_FILTER_TIMEOUT")]
    pub filter: Duration,
    /// Time for requests in flight when the server stops
    #[arg(long = "shutdown-timeout", value_name = "TIME", default_value = SHUTDOWN, value_parser = timeout,
          env = "CUSTOMER_MATCH_SHUTDOWN_TIMEOUT")]
    pub shutdown: Duration,
}

/// Less works for nothing, and more is a mistake in the unit.
const RANGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

fn parse(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 500ms, 10s or 1m"))
}

/// The range of waits at the start, which may be zero.
pub(super) fn startup_wait(text: &str) -> Result<Duration, String> {
    let time = parse(text)?;
    if time <= Duration::from_secs(24 * 3600) { Ok(time) } else { Err("must not be more than 1day".into()) }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let time = parse(text)?;
    if RANGE.contains(&time) { Ok(time) } else { Err("must be between 100ms and 1h".into()) }
}

fn filter_timeout(text: &str) -> Result<Duration, String> {
    let time = parse(text)?;
    let range = Duration::from_millis(10)..=Duration::from_secs(4);
    if range.contains(&time) { Ok(time) } else { Err("must be between 10ms and 4s".into()) }
}

/// Shorter than a read may take on the replica.
pub(super) fn replica_lag(text: &str) -> Result<Duration, String> {
    let time = parse(text)?;
    let range = Duration::from_millis(10)..=Duration::from_secs(2);
    if range.contains(&time) { Ok(time) } else { Err("must be between 10ms and 2s".into()) }
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
