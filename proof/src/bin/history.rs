//! Calls a running server from many clients at once and checks the history of their answers: docs/proof.md.
//!
//! ```text
//! cargo run --release -p customer-match-proof --bin history    # beside `cargo run --release`
//! ```
//!
//! Exit code: 0 every answer is explained, 1 one is not, 2 it could not be tried.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use customer_match_proof::api::Api;
use customer_match_proof::checker::{Conditions, check};
use customer_match_proof::report;
use customer_match_proof::run::{Run, Running};
use tokio_util::sync::CancellationToken;

/// The documentation's sample key, which a demo server accepts.
const SAMPLE_KEY: &str = "PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE";

/// Check that the answers of a running server can be believed.
///
/// Registers customers in the organisation of the key and leaves them there.
#[derive(Parser)]
struct Arguments {
    /// The server; repeat it for several on one database.
    #[arg(long = "url", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    urls: Vec<String>,
    /// An API key; the default is a demo server's.
    #[arg(long, default_value = SAMPLE_KEY, env = "CUSTOMER_MATCH_PROOF_KEY", hide_env_values = true)]
    key: String,
    /// Concurrent clients.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=48))]
    clients: u8,
    /// How long they call.
    #[arg(long, default_value_t = 20, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Shards of a cluster are moved meanwhile, so readers of changes may be told to start again.
    #[arg(long)]
    shards_move: bool,
    /// Repeats what the clients choose at random, not how their calls overlap.
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let servers = arguments.urls.iter().map(|url| Ok(vec![Api::new(url, &arguments.key)?]));
    let mut run = Run::start(servers.collect::<anyhow::Result<_>>()?, seed).await?;
    let stop = CancellationToken::new();
    let mut running = Running::new();
    run.start_wanderers(arguments.clients.into(), &stop, &mut running);
    let reading = run.start_readers(&stop);
    stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(arguments.seconds))).await;
    stop.cancel();
    run.join(running).await?;
    run.join_readers(reading).await?;
    run.read_everything().await?;
    run.finish_readers().await?;
    println!("\n{}\n", report::calls_table(&run.calls));
    let mut verdict =
        check(&run, &Conditions { shards_move: arguments.shards_move, ..Conditions::default() });
    report::print(&mut verdict, run.calls.len());
    if verdict.undecided > 0 {
        anyhow::bail!("not everything could be checked");
    }
    Ok(verdict.violations.is_empty())
}
