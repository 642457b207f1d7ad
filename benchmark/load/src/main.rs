//! A closed loop of keep-alive connections: each sends a random request, waits for the answer, notes it and sends the next.
//! Requests are matches of random pairs, reads from a file, or both. Beside them, or alone, there may be one stream of matches.
//!
//! It shares the machine with what it measures, so it is one thread and does little: request bytes are written by hand
//! and answers are only checked. The lines `measuring` and `measured` on stdout bound the figures, so that the harness
//! can read clocks of the processes at the same moments; then comes one line of JSON. Every answer to a match, those of the warm-up
//! included, goes to a file for the verification.

mod client;
mod pairs;
mod reads;
mod record;
mod stream;

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use client::{Connection, Request};
use pairs::Pairs;
use reads::Read;
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
    /// Name no customer and expect 422: everything of the server but the database.
    #[arg(long)]
    rejected: bool,
    /// The reads, see `reads.rs`. Without it all requests are matches.
    #[arg(long)]
    reads: Option<PathBuf>,
    /// Of ten requests, how many are matches when there are reads.
    #[arg(long, default_value_t = 0)]
    matches_of_ten: u32,
    /// The organisations of the pairs are this one …
    #[arg(long, default_value_t = 1)]
    first_organisation: u32,
    /// … to this one.
    #[arg(long, default_value_t = pairs::ORGANISATIONS)]
    last_organisation: u32,
    /// A stream of this organisation besides.
    #[arg(long)]
    stream_of: Option<u32>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let settings = Arc::new(Settings::parse());
    let reads = settings.reads.as_deref().map(Read::load).transpose()?;
    let reads = Arc::new(reads.unwrap_or_default());
    let barrier = Arc::new(Barrier::new(settings.connections as usize + 1));
    let mut tasks = Vec::new();
    for index in 0..settings.connections {
        let connection = Connection::open(settings.address).await?;
        let organisations = [settings.first_organisation, settings.last_organisation];
        let pairs = Pairs::new(settings.seed, index, settings.connections + 1, organisations);
        let (settings, reads, barrier) = (Arc::clone(&settings), Arc::clone(&reads), Arc::clone(&barrier));
        tasks.push(tokio::spawn(call(connection, pairs, settings, reads, barrier)));
    }
    barrier.wait().await;
    let start = Instant::now();
    let stream = settings.stream_of.map(|organisation| {
        // After those of the connections.
        let pairs =
            Pairs::new(settings.seed, settings.connections, settings.connections + 1, [organisation; 2]);
        let length = Duration::from_secs_f64(settings.warm_up + settings.seconds);
        tokio::spawn(stream::send(settings.address, organisation, pairs, length))
    });
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
    if let Some(stream) = stream {
        log.append(stream.await??);
    }
    log.write(BufWriter::new(File::create(&settings.answers)?))?;
    println!("{}", log.summary(from, to, if settings.rejected { client::REJECTED } else { client::OK }));
    Ok(())
}

/// One connection until the time is over, the request in flight then included. One without a proper answer is its last:
/// the run has failed anyway.
async fn call(
    mut connection: Connection,
    mut pairs: Pairs,
    settings: Arc<Settings>,
    reads: Arc<Vec<Read>>,
    barrier: Arc<Barrier>,
) -> Vec<Record> {
    let length = Duration::from_secs_f64(settings.warm_up + settings.seconds);
    let mut records = Vec::new();
    barrier.wait().await;
    let start = Instant::now();
    loop {
        let is_match = reads.is_empty() || pairs.below(10) < settings.matches_of_ten;
        let pair = is_match.then(|| pairs.next_pair());
        let request = match &pair {
            Some(pair) if settings.rejected => Request::Rejected(pair),
            Some(pair) => Request::Match(pair),
            None => Request::Read(&reads[pairs.below(reads.len() as u32) as usize]),
        };
        let sent = Instant::now();
        if sent - start >= length {
            return records;
        }
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, connection.call(request)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let answered = Instant::now();
        let status = *answer.as_ref().unwrap_or(&record::NO_ANSWER);
        records.push(Record { pair, status, sent, answered, streamed: false });
        if let Err(error) = answer {
            eprintln!("a connection ended: {error}");
            return records;
        }
    }
}
