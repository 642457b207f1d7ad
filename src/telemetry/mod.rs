//! The log: one event a line to stderr, as JSON for the log collector of a server and as text for people.
//!
//! No API key, identity id, e-mail address or notice is ever logged, at any level. Two rules ensure that, whatever a library
//! logs. Other crates are capped at [`LIBRARY_LEVEL`], because hyper, h2 and sqlx log whole frames, headers and rows at
//! debug and trace. And a panic message is logged only when it is a literal ([`literal_message`]), because a formatted one
//! may contain data. A change here must keep both.
//!
//! Events are buffered and written in batches ([`batching_writer`]), so a killed process loses those of its last 10 ms;
//! a panic loses none. When stderr is not read, events are dropped and counted ([`dropped_lines`]), and requests are served.

mod batching_writer;

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, stderr};
use std::panic::{self, PanicHookInfo};

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use self::batching_writer::BatchingWriter;
pub(crate) use self::batching_writer::FlushGuard;
use crate::config::{Log, LogFormat};

/// The most verbose level of other crates, whatever the filter asks for.
const LIBRARY_LEVEL: Level = Level::INFO;

/// Bytes of events that may be pending: those of one second of a busy server.
const MAX_BUFFERED: usize = 8 << 20;

/// What this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    Server,
    /// A one-shot subcommand, whose operator reads the log.
    Command,
}

/// Static like tracing's subscriber, which a process also has only one of.
static WRITER: BatchingWriter = BatchingWriter::new(MAX_BUFFERED);

/// The number of events that were dropped because stderr was not read in time.
pub(crate) fn dropped_lines() -> u64 {
    WRITER.dropped()
}

/// Installs the subscriber and the panic hook of this process; may be called once. Dropping the guard flushes the log.
pub(crate) fn init(log: &Log, process: Process) -> anyhow::Result<FlushGuard> {
    let filter = log.filter()?;
    let terminal = stderr().is_terminal();
    let text = match log.format {
        LogFormat::Auto => terminal || process == Process::Command,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    // An event that cannot be written is lost. To report that on the same stderr would panic.
    let layer = fmt::layer().with_writer(|| &WRITER).log_internal_errors(false);
    let layer = if text {
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        layer.with_target(false).with_ansi(colours).boxed()
    } else {
        layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    };
    // The filters are global: a per-layer filter drops the event that follows one that sqlx only checked for.
    tracing_subscriber::registry().with(cap(process)).with(filter).with(layer).init();
    panic::set_hook(Box::new(log_panic));
    Ok(WRITER.start(stderr())?)
}

/// The most verbose levels, whatever the filter asks for.
fn cap(process: Process) -> Targets {
    let cap = Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), Level::TRACE)
        .with_target("private_postgres", Level::TRACE)
        // It quotes unknown parameters of a database URL, one of which may be a misspelt password.
        .with_target("sqlx_postgres::options", LevelFilter::OFF)
        // It warns of each connection that is found broken when it is returned to a pool, as at each stop of a private Postgres. The
        // statement that needed the connection has an error of its own.
        .with_target("sqlx_core::pool::connection", LevelFilter::OFF)
        .with_default(LIBRARY_LEVEL);
    match process {
        Process::Server => cap,
        // Slow statements with their SQL: those of subcommands may take long, and their operators cannot change them.
        Process::Command => cap.with_target("sqlx::query", LevelFilter::OFF),
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    // Captured only when RUST_BACKTRACE is set. It holds names of functions and line numbers, no values.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(location, panic_message = literal_message(panic.payload()), backtrace, "panic");
}

/// The panic message if it is a literal of the source. A formatted message may contain data and is left out.
fn literal_message(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(left out: it may contain data)")
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn connections_that_are_found_broken_are_not_logged() {
        for process in [Process::Server, Process::Command] {
            assert!(!cap(process).would_enable("sqlx_core::pool::connection", &Level::WARN));
            assert!(cap(process).would_enable("sqlx_core::pool::acquire", &Level::WARN));
        }
    }

    #[test]
    fn only_a_server_logs_slow_statements() {
        let logs = |process| cap(process).would_enable("sqlx::query", &Level::WARN);
        assert_eq!([logs(Process::Server), logs(Process::Command)], [true, false]);
    }

    #[test]
    fn a_panic_message_is_logged_only_if_it_is_a_literal() {
        let key = black_box("PROD0123456789abcdefghijABCDEFGH");
        let message_of = |work: fn(&str)| literal_message(&*panic::catch_unwind(|| work(key)).unwrap_err());
        assert_eq!(message_of(|_| panic!("no row")), "no row");
        assert_eq!(message_of(|key| panic!("no row for {key}")), "(left out: it may contain data)");
        assert_eq!(
            message_of(|key| key.parse::<u8>().map_err(|_| key).map(drop).unwrap()),
            "(left out: it may contain data)"
        );
    }
}
