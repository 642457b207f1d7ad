//! The log: a line an event, to stderr, for people on a terminal and as JSON otherwise.
//!
//! No key, identity id, e-mail or notice is ever in it, at any level, and that does not depend on anybody's care for what
//! a library logs: hyper, h2 and sqlx write whole frames, headers and rows at the levels debug and trace, so nothing
//! but this crate may log below info ([`OTHERS`]), and a panic's message is left out when it was formatted from values
//! ([`said`]).
//!
//! A thread writes the lines of each moment together ([`lines`]). What is killed loses those of the last moment, a panic is
//! none of that; and when nobody reads stderr, lines are lost ([`lost_lines`]) and requests are served.

mod lines;

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, stderr};
use std::panic::{self, PanicHookInfo};

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

pub use self::lines::Guard;
use self::lines::Lines;
use crate::config::{Log, LogFormat};

/// The most that other crates log, whatever the filter asks for.
const OTHERS: Level = Level::INFO;

/// What may wait to be written, in octets: a second of a busy server's lines.
const ROOM: usize = 8 << 20;

static LINES: Lines = Lines::new(ROOM);

/// Lines that were not logged because too many were waiting to be written.
pub fn lost_lines() -> u64 {
    LINES.lost()
}

/// From here on this process logs as it is told. May be called once. When the guard is dropped, all is written.
pub fn start(log: &Log) -> anyhow::Result<Guard> {
    let cap = Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), Level::TRACE)
        // Quotes what it does not know in a database URL, which may be a misspelt password.
        .with_target("sqlx_postgres::options", LevelFilter::OFF)
        .with_default(OTHERS);
    let filter = log.filter()?;
    let terminal = stderr().is_terminal();
    let text = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    // A line that cannot be written is lost, and nothing else is: reported to the same stderr it would be a panic.
    let lines = fmt::layer().with_writer(|| &LINES).log_internal_errors(false);
    let lines = if text {
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        lines.with_target(false).with_ansi(colours).boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    };
    // For the whole, not for a layer: a layer's own filter loses the event after one that sqlx only asked about.
    tracing_subscriber::registry().with(cap).with(filter).with(lines).init();
    panic::set_hook(Box::new(log_panic));
    Ok(LINES.write_to(stderr())?)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    // Names of functions and lines only; taken when RUST_BACKTRACE asks for it.
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(location, said = said(panic.payload()), backtrace, "a defect: the code panicked");
}

/// What a panic says when that was written in the source. A message with values in it may hold anything.
fn said(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(left out: it may hold data)")
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn a_panic_says_only_what_is_written_in_the_source() {
        let key = black_box("PROD0123456789abcdefghijABCDEFGH");
        let said_by = |work: fn(&str)| said(&*panic::catch_unwind(|| work(key)).unwrap_err());
        assert_eq!(said_by(|_| panic!("no row")), "no row");
        assert_eq!(said_by(|key| panic!("no row for {key}")), "(left out: it may hold data)");
        assert_eq!(
            said_by(|key| key.parse::<u8>().map_err(|_| key).map(drop).unwrap()),
            "(left out: it may hold data)"
        );
    }
}
