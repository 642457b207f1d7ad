//! A closed loop of keep-alive connections on `POST …/customer-match-customer`: each sends a random pair, waits for the
//! answer, notes it and sends the next.
//!
//! It shares the machine with what it measures, so it is one thread and does little: request bytes are written by hand
//! and answers are only checked. The lines `measuring` and `measured` on stdout bound the figures, so that whoever started
//! it can read clocks of the processes at the same moments; then comes one line of JSON. Every answer, those of the warm-up
//! included, goes to a file for the verification.

mod client;
mod pairs;
mod record;

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use client::Connection;
use pairs::Pairs;
use record::{Log, Record};
use tokio::sync::Barrier;

/// Longer than any contender's own time-out.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

#[derive(Parser)]
struct Settings {
    /// Where the contender listens.
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    connections: u64,
    /// Seconds before the figures begin.
    #[arg(long)]
    warm_up: f64,
    /// Seconds that the figures are made of.
    #[arg(long)]
    seconds: f64,
    /// The same seed makes the same pairs.
    #[arg(long)]
    seed: u64,
    /// Where every answer is written, as COPY reads it.
    #[arg(long)]
    answers: PathBuf,
    /// Name no customer and expect the refusal (422): everything of the server but the database.
    #[arg(long)]
    refused: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let settings = Settings::parse();
    let barrier = Arc::new(Barrier::new(settings.connections as usize + 1));
    let mut tasks = Vec::new();
    for index in 0..settings.connections {
        let connection = Connection::open(settings.address).await?;
        let pairs = Pairs::new(settings.seed, index, settings.connections);
        let length = Duration::from_secs_f64(settings.warm_up + settings.seconds);
        tasks.push(tokio::spawn(call(connection, pairs, settings.refused, Arc::clone(&barrier), length)));
    }
    barrier.wait().await;
    let start = Instant::now();
    let from = start + Duration::from_secs_f64(settings.warm_up);
    let to = from + Duration::from_secs_f64(settings.seconds);
    tokio::time::sleep_until(from.into()).await;
    println!("measuring");
    tokio::time::sleep_until(to.into()).await;
    println!("measured");
    let mut log = Log::default();
    for task in tasks {
        log.append(task.await?);
    }
    log.write(BufWriter::new(File::create(&settings.answers)?))?;
    println!("{}", log.summary(from, to, if settings.refused { client::REFUSED } else { client::MATCHED }));
    Ok(())
}

/// One connection until the time is over, the request under way then included. One without a proper answer is its last:
/// the run has failed anyway.
async fn call(
    mut connection: Connection,
    mut pairs: Pairs,
    refused: bool,
    barrier: Arc<Barrier>,
    length: Duration,
) -> Vec<Record> {
    let mut records = Vec::new();
    barrier.wait().await;
    let start = Instant::now();
    loop {
        let pair = pairs.next_pair();
        let sent = Instant::now();
        if sent - start >= length {
            return records;
        }
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, connection.post(&pair, refused)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let answered = Instant::now();
        let status = *answer.as_ref().unwrap_or(&record::NO_ANSWER);
        records.push(Record { pair, status, sent, answered });
        if let Err(error) = answer {
            eprintln!("a connection ended: {error}");
            return records;
        }
    }
}
