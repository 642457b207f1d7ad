//! The binary `customer-match`: parse the command line, set up the log, run the subcommand.

use std::io::{Write, stderr};
use std::process::ExitCode;

use customer_match::cli::{self, Cli};
use mimalloc::MiMalloc;

/// See Cargo.toml for why.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::read().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not `eprintln!`, which panics where nobody reads.
            let _ = writeln!(stderr(), "error: {error:#}");
            cli::exit_code(&error)
        }
    }
}
