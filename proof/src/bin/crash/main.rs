//! Injects faults under load and checks the history of all answers: docs/proof.md.
//!
//! ```text
//! cargo run --release -p customer-match-proof --bin crash
//! ```
//!
//! Exit code: 0 every answer is explained, 1 one is not, 2 it could not be tried, 130 it was interrupted.

mod client_relay;
mod cluster;
mod database_relay;
mod faults;
mod late_writer;
mod locker;
mod node;
mod postgres;
mod rig;
mod server;
mod table;
mod tables;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use customer_match_proof::checker::{Conditions, Violation, ViolationKind, check};
use customer_match_proof::client::Client;
use customer_match_proof::report;
use customer_match_proof::run::{Run, Running};
use rand::prelude::*;
use sqlx::postgres::PgConnectOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::faults::{Phase, phases, strike};
use self::locker::Locker;
use self::rig::Rig;
use self::table::{Record, phases_table};

/// Clients that call about what is locked: more than there are organisations.
const VISITORS: usize = 12;

/// Check that success can be believed, whatever fails.
///
/// Runs a Postgres and two servers of its own in a temporary directory, or two servers on a cluster.
#[derive(Parser)]
struct Arguments {
    /// Inject each fault once or twice, in seconds instead of minutes.
    #[arg(long)]
    quick: bool,
    /// The server's executable. Default: the one of this build, brought up to date by cargo.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Instead of a Postgres of its own, a Citus cluster on this machine: the URL of an empty database of the coordinator, with the
    /// extension and at least two workers. All nodes are killed and restarted.
    #[arg(long, value_name = "URL", env = "CUSTOMER_MATCH_PROOF_CLUSTER", hide_env_values = true)]
    cluster: Option<PgConnectOptions>,
    /// Concurrent clients, besides those that call about locked rows.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=48))]
    clients: u8,
    /// Repeat the phases until so many calls are acknowledged.
    #[arg(long, value_name = "N", default_value_t = 0)]
    calls: u64,
    /// Repeat the phases until so much time has passed.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seconds: u64,
    /// Only the phases with this in their names, besides the quiet one; repeat it for more.
    #[arg(long = "phase", value_name = "NAME")]
    phases: Vec<String>,
    /// Repeats what is chosen at random, not when it happens.
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(Some(true)) => ExitCode::SUCCESS,
        Ok(Some(false)) => ExitCode::from(1),
        Ok(None) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every answer is explained; `None` if it was interrupted.
async fn run(arguments: &Arguments) -> anyhow::Result<Option<bool>> {
    let binary = arguments.server.clone().map_or_else(server_of_this_build, Ok)?;
    let mut rig = Rig::build(binary, arguments.cluster.clone()).await?;
    let mut terminated = signal(SignalKind::terminate())?;
    let outcome = tokio::select! {
        outcome = prove(arguments, &mut rig) => outcome.map(Some),
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| None).map_err(Into::into),
        _ = terminated.recv() => Ok(None),
    };
    rig.tear_down().await?;
    if !matches!(outcome, Ok(None | Some(true))) {
        eprintln!("the servers' logs are in {}", rig.keep_logs().display());
    }
    outcome
}

async fn prove(arguments: &Arguments, rig: &mut Rig) -> anyhow::Result<bool> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut run = Run::start(rig.apis()?, seed).await?;
    let organisations = rig.organisations.iter().map(|(id, _)| *id).collect();
    let locker = Locker::new(Arc::clone(&run.world), organisations, &rig.postgres.connect_options()?).await?;
    let mut probes: Vec<_> = rig.servers.iter().map(|_| run.client()).collect();
    let stop = CancellationToken::new();
    let mut running = Running::new();
    run.start_wanderers(arguments.clients.into(), &stop, &mut running);
    run.start_visitors(VISITORS, &stop, &mut running);
    let options = rig.postgres.connect_options()?;
    let first = rig.organisations[0].0;
    let late_commits = late_writer::start(&options, &rig.socket, first, &stop, &mut random).await?;
    if late_commits.is_none() {
        println!("the relations of this server have no change numbers: no changes are followed");
    }
    let reading = run.start_readers(&stop);

    let mut records: Vec<Record> = Vec::new();
    let mut not_recovered = Vec::new();
    while !stop.is_cancelled() && !is_enough(arguments, &run, &records) {
        let wanted = |phase: &Phase| {
            let names = &arguments.phases;
            names.is_empty() || phase.rounds.is_empty() || names.iter().any(|name| phase.name.contains(name))
        };
        for phase in phases(arguments.quick, !rig.workers.is_empty(), &mut random).into_iter().filter(wanted)
        {
            let mut record = Record::new(&phase, run.world.now());
            inject(&phase, rig, &locker, &mut probes, &mut record, &mut random, &mut not_recovered).await?;
            record.ended = run.world.now();
            records.push(record);
            if stop.is_cancelled() {
                break;
            }
        }
    }
    stop.cancel();
    run.join(running).await?;
    run.join_readers(reading).await?;
    for probe in probes {
        run.calls.extend(probe.into_calls());
    }
    if late_commits.is_some_and(|commits| commits.load(Ordering::Relaxed) == 0) {
        bail!("no transaction was committed late");
    }
    rig.quiesce().await?;
    run.read_everything().await?;
    run.finish_readers().await?;
    let end = run.world.now();

    let only_locks =
        records.iter().filter(|record| record.only_locks).map(|record| record.began..record.ended);
    let conditions = Conditions {
        faults: true,
        only_locks: only_locks.collect(),
        shards_move: !rig.workers.is_empty(),
        tables: Some(tables::read(&run, &rig.organisations, &rig.postgres.connect_options()?).await?),
    };
    let mut verdict = check(&run, &conditions);
    verdict.violations.extend(not_recovered);
    println!("\n{}\n", report::calls_table(&run.calls));
    println!("{}\n", phases_table(&records, run.quiesced..end, &run.calls, &verdict));
    report::print(&mut verdict, run.calls.len());
    if verdict.undecided > 0 {
        bail!("not everything could be checked");
    }
    Ok(verdict.violations.is_empty())
}

/// After the phases once, and as often as it takes.
fn is_enough(arguments: &Arguments, run: &Run, records: &[Record]) -> bool {
    let passed = Duration::from_nanos(run.world.now());
    !records.is_empty()
        && run.world.acknowledged() >= arguments.calls
        && passed >= Duration::from_secs(arguments.seconds)
}

async fn inject(
    phase: &Phase,
    rig: &mut Rig,
    locker: &Locker,
    probes: &mut [Client],
    record: &mut Record,
    random: &mut StdRng,
    not_recovered: &mut Vec<Violation>,
) -> anyhow::Result<()> {
    let calm = |random: &mut StdRng| Duration::from_secs_f64(random.random_range(phase.calm.clone()));
    tokio::time::sleep(calm(random)).await;
    for faults in &phase.rounds {
        let struck = strike(rig, locker, faults, &phase.durations, probes, random).await?;
        match struck.recovery {
            Some(recovery) => {
                println!("{}: {:?}, served again after {recovery:.2?}", phase.name, struck.counts);
                record.longest_recovery = record.longest_recovery.max(recovery);
            }
            None => not_recovered.push(Violation {
                kind: ViolationKind::Answer,
                at: record.began,
                text: format!("After {faults:?} a server served no call for a minute."),
            }),
        }
        record.counts.extend(struck.counts);
        tokio::time::sleep(calm(random)).await;
    }
    Ok(())
}

/// Of the same profile as this program.
fn server_of_this_build() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let directory = this.parent().context("this program is in target/*")?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--package", "customer-match", "--manifest-path"]);
        build.arg(manifest).args(directory.ends_with("release").then_some("--release"));
        if !build.status()?.success() {
            bail!("the server cannot be built");
        }
    }
    Ok(directory.join("customer-match"))
}
