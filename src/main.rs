//! The binary `customer-match`: parse the command line, set up logs, run the subcommand.

use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;

use clap::Parser;
use customer_match::cli::{self, Cli};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    match cli.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not `eprintln!`, which panics where nobody reads.
            let _ = writeln!(stderr(), "error: {error:#}");
            cli::exit_code(&error)
        }
    }
}

/// What is worth a line unless `RUST_LOG` says otherwise; the driver repeats every notice of Postgres.
const DEFAULT_FILTER: &str = "info,sqlx=warn";

/// For people on a terminal, JSON otherwise.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    // A line that cannot be written is lost, and nothing else is: reported to the same stderr it would be a panic.
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).log_internal_errors(false);
    if stderr().is_terminal() {
        subscriber.with_target(false).init();
    } else {
        subscriber.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
    }
}
