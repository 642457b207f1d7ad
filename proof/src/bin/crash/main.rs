//! Kills Postgres and the server, cuts connections, and proves that nothing acknowledged is lost: docs/proof.md.
//!
//! ```text
//! cargo run --release -p customer-match-proof --bin crash
//! ```
//!
//! Exit code: 0 all is explained, 1 it is not, 2 it could not be tried, 130 it was interrupted.

mod client_relay;
mod postgres;
mod server;

mod faults;

use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use rand::prelude::*;
use tokio_util::sync::CancellationToken;

use self::faults::{Rig, Trouble, phases};
use customer_match_proof::api::Api;
use customer_match_proof::call::{Answer, Call};
use customer_match_proof::checker::{Fault, Verdict, Violation, judge};
use customer_match_proof::model::Time;
use customer_match_proof::report;
use customer_match_proof::run::Run;

/// Prove that no acknowledged match is lost, whatever is killed.
///
/// Runs a Postgres and a server of its own, in a folder for temporary files, and needs nothing running.
#[derive(Parser)]
struct Arguments {
    /// Break everything once, in seconds instead of minutes.
    #[arg(long)]
    quick: bool,
    /// The server program; default: the one that this program was built beside, brought up to date by cargo.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Clients that call at the same time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=48))]
    clients: u8,
    /// What is chosen at random is the same with the same seed; when it happens is not.
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

/// Whether all is explained; nothing if it was interrupted.
async fn run(arguments: &Arguments) -> anyhow::Result<Option<bool>> {
    let binary = arguments.server.clone().map_or_else(server_program, Ok)?;
    let (mut rig, key) = Rig::build(binary).await?;
    let outcome = tokio::select! {
        outcome = prove(arguments, &mut rig, &key) => outcome.map(Some),
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| None).map_err(Into::into),
    };
    rig.tear_down().await?;
    if !matches!(outcome, Ok(None | Some(true))) {
        eprintln!("the server's log is {}", rig.keep_log().display());
    }
    outcome
}

/// What a phase came to.
#[derive(Default)]
struct Record {
    name: &'static str,
    began: Time,
    broken: Vec<Trouble>,
    longest_recovery: Duration,
}

async fn prove(arguments: &Arguments, rig: &mut Rig, key: &str) -> anyhow::Result<bool> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut run = Run::start(vec![Api::new(&rig.url(), key)?], seed).await?;
    let mut probe = run.client();
    let stop = CancellationToken::new();
    let clients = run.set_out(arguments.clients.into(), &stop);
    let mut records = Vec::new();
    let mut stuck = Vec::new();
    for phase in phases(arguments.quick, &mut random) {
        let mut record = Record { name: phase.name, began: run.world.now(), ..Record::default() };
        let calm = |random: &mut StdRng| Duration::from_secs_f64(random.random_range(phase.calm.clone()));
        tokio::time::sleep(calm(&mut random)).await;
        for troubles in &phase.rounds {
            let at = run.world.now();
            let recovered = rig.strike(troubles, &mut probe, &mut random).await?;
            println!(
                "{}: {troubles:?}, served again after {:.2?}",
                phase.name,
                recovered.unwrap_or(Duration::MAX)
            );
            match recovered {
                Some(time) => record.longest_recovery = record.longest_recovery.max(time),
                None => stuck.push(Violation {
                    fault: Fault::Answer,
                    at,
                    text: format!("After {troubles:?} no call was served for a minute."),
                }),
            }
            record.broken.extend(troubles);
            tokio::time::sleep(calm(&mut random)).await;
        }
        records.push(record);
        if stop.is_cancelled() {
            break;
        }
    }
    stop.cancel();
    run.gather(clients).await?;
    run.calls.extend(probe.into_calls());
    rig.settle().await?;
    let ended = run.world.now();
    run.read_everything().await?;
    let read = run.world.now();
    let mut verdict = judge(&run, true);
    verdict.violations.extend(stuck);
    println!(
        "\n{}\n\n{}\n",
        report::calls_table(&run.calls),
        phases_table(&records, ended..read, &run.calls, &verdict)
    );
    report::print(&mut verdict, run.calls.len());
    if verdict.undecided > 0 {
        bail!("not everything could be checked");
    }
    Ok(verdict.violations.is_empty())
}

fn phases_table(records: &[Record], reading: Range<Time>, calls: &[Call], verdict: &Verdict) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "what is broken",
        "seconds",
        "Postgres killed",
        "server killed",
        "cuts",
        "calls",
        "acknowledged",
        "refused",
        "503",
        "no answer",
        "missing",
        "doubled",
        "other",
        "longest recovery",
    ]);
    let mut row = |name: &str, from: Time, to: Time, broken: &[Trouble], recovery: Duration| {
        let times = |wanted: &[Trouble]| broken.iter().filter(|trouble| wanted.contains(trouble)).count();
        let within = |at: Time| (from..to).contains(&at);
        let answered = |wanted: fn(&Answer) -> bool| {
            calls.iter().filter(|call| within(call.start) && wanted(&call.answer)).count()
        };
        let faults = |wanted: fn(Fault) -> bool| {
            verdict
                .violations
                .iter()
                .filter(|violation| within(violation.at) && wanted(violation.fault))
                .count()
        };
        table.add_row([
            name.to_owned(),
            format!("{:.0}", Duration::from_nanos(to - from).as_secs_f64()),
            times(&[Trouble::KillPostgres]).to_string(),
            times(&[Trouble::KillServer]).to_string(),
            times(&[Trouble::CutClients, Trouble::CutDatabase]).to_string(),
            answered(|_| true).to_string(),
            answered(is_acknowledged).to_string(),
            answered(|answer| matches!(answer, Answer::Refused | Answer::NeverMatched)).to_string(),
            answered(|answer| matches!(answer, Answer::Unavailable)).to_string(),
            answered(|answer| matches!(answer, Answer::Lost | Answer::NotSent | Answer::Late)).to_string(),
            faults(|fault| fault == Fault::Missing).to_string(),
            faults(|fault| fault == Fault::Doubled).to_string(),
            faults(|fault| matches!(fault, Fault::Answer | Fault::Trace)).to_string(),
            if broken.is_empty() { String::new() } else { format!("{:.2} s", recovery.as_secs_f64()) },
        ]);
    };
    let ends = records.iter().skip(1).map(|record| record.began).chain([reading.start]);
    for (record, end) in records.iter().zip(ends) {
        row(record.name, record.began, end, &record.broken, record.longest_recovery);
    }
    row("read in the end", reading.start, reading.end, &[], Duration::ZERO);
    let broken: Vec<_> = records.iter().flat_map(|record| record.broken.iter().copied()).collect();
    let longest = records.iter().map(|record| record.longest_recovery).max().unwrap_or_default();
    row("in all", 0, reading.end, &broken, longest);
    table.trim_fmt()
}

fn is_acknowledged(answer: &Answer) -> bool {
    matches!(answer, Answer::Matched(_) | Answer::Unmatched | Answer::Customer { .. } | Answer::Listed(_))
}

/// Of the same profile as this program.
fn server_program() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this.parent().context("this program is in target/*")?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--package", "customer-match", "--manifest-path"]);
        build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
        build.args(folder.ends_with("release").then_some("--release"));
        if !build.status()?.success() {
            bail!("the server cannot be built");
        }
    }
    Ok(folder.join("customer-match"))
}
