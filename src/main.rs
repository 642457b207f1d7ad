//! The binary `customer-match`.

use std::process::ExitCode;

use customer_match::cli::{self, Cli};
use mimalloc::MiMalloc;

/// Cargo.toml has the reason.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::read().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::report(&error),
    }
}
