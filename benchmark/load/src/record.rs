//! Every answer of a run, and the figures made of them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use crate::pairs::Pair;

/// In the place of a status: whether the request was carried out is unknown.
pub const NO_ANSWER: u16 = 0;

/// A request and how it ended.
pub struct Record {
    /// None: a read.
    pub pair: Option<Pair>,
    pub status: u16,
    pub sent: Instant,
    pub answered: Instant,
    /// A line of the stream.
    pub streamed: bool,
}

impl Record {
    fn micros(&self) -> u128 {
        (self.answered - self.sent).as_micros()
    }
}

/// All of a run.
#[derive(Default)]
pub struct Log(Vec<Record>);

impl Log {
    pub fn append(&mut self, records: Vec<Record>) {
        self.0.extend(records);
    }

    /// One line for each match: number, organisation, manager, customer, status, microseconds.
    pub fn write(&self, mut file: impl Write) -> io::Result<()> {
        for record in &self.0 {
            let Some(Pair { number, organisation, manager, customer }) = record.pair else { continue };
            let (status, micros) = (record.status, record.micros());
            writeln!(file, "{number}\t{organisation}\t{manager}\t{customer}\t{status}\t{micros}")?;
        }
        file.flush()
    }

    /// JSON: the figures of the answers with the status that was asked for and that came between the two moments, and how
    /// many of each status came at all. Lines of the stream count by themselves: they have no time from request to answer.
    pub fn summary(&self, from: Instant, to: Instant, wanted: u16) -> String {
        let counts =
            |record: &&Record| record.status == wanted && from <= record.answered && record.answered < to;
        let streamed = self.0.iter().filter(counts).filter(|record| record.streamed).count();
        let single = self.0.iter().filter(counts).filter(|record| !record.streamed);
        let mut micros: Vec<_> = single.map(Record::micros).collect();
        micros.sort_unstable();
        let quantile = |q: f64| {
            let rank = (q * micros.len() as f64).ceil() as usize;
            micros.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        let mut statuses = BTreeMap::new();
        for record in &self.0 {
            *statuses.entry(record.status).or_insert(0u64) += 1;
        }
        let statuses: Vec<_> =
            statuses.iter().map(|(status, count)| format!("\"{status}\":{count}")).collect();
        format!(
            r#"{{"requests":{},"streamed":{streamed},"seconds":{},"p50_us":{},"p99_us":{},"max_us":{},"statuses":{{{}}}}}"#,
            micros.len(),
            (to - from).as_secs_f64(),
            quantile(0.5),
            quantile(0.99),
            quantile(1.0),
            statuses.join(",")
        )
    }
}
