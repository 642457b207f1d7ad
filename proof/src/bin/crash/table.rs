//! The table of results, a row for each phase.

use std::ops::Range;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use customer_match_proof::call::{Answer, Call};
use customer_match_proof::checker::{Latency, Verdict, ViolationKind};
use customer_match_proof::model::Time;

use super::faults::{Fault, Phase};

/// What happened in a phase.
pub struct Record {
    name: &'static str,
    pub began: Time,
    pub ended: Time,
    pub only_locks: bool,
    /// How many of each fault there were, in parts.
    pub counts: Vec<(Fault, usize)>,
    pub longest_recovery: Duration,
}

impl Record {
    pub fn new(phase: &Phase, began: Time) -> Self {
        Self {
            name: phase.name,
            began,
            ended: began,
            only_locks: phase.has_only_locks(),
            counts: Vec::new(),
            longest_recovery: Duration::ZERO,
        }
    }
}

const FAULTS: [(&str, Fault); 10] = [
    ("Postgres kills", Fault::KillPostgres),
    ("worker kills", Fault::KillWorker),
    ("shard moves", Fault::MoveShards),
    ("server kills", Fault::KillServer),
    ("client cuts", Fault::CutClients),
    ("database cuts", Fault::CutDatabase),
    ("lost answers", Fault::LoseAnswer),
    ("held segments", Fault::HoldSegments),
    ("black holes", Fault::BlackHole),
    ("locks", Fault::LockRows),
];

const VIOLATIONS: [(&str, &[ViolationKind]); 6] = [
    ("missing", &[ViolationKind::Missing]),
    ("stale", &[ViolationKind::Stale]),
    ("doubled", &[ViolationKind::Repeated, ViolationKind::Doubled]),
    ("late", &[ViolationKind::Late]),
    ("not isolated", &[ViolationKind::NotIsolated]),
    ("other", &[ViolationKind::Representation, ViolationKind::Answer, ViolationKind::Trace]),
];

pub fn phases_table(records: &[Record], reading: Range<Time>, calls: &[Call], verdict: &Verdict) -> String {
    let mut table = Table::new();
    let header =
        ["phase", "s", "faults", "calls", "acknowledged", "rejected", "503", "no answer", "slowest write"];
    table
        .load_style(NOTHING)
        .set_header(header.into_iter().chain(VIOLATIONS.map(|(name, _)| name)).chain(["longest recovery"]));
    let mut row = |name: &str, times: &[Range<Time>], counts: &[(Fault, usize)], recovery: Duration| {
        let within = |at: Time| times.iter().any(|time| time.contains(&at));
        let calls: Vec<_> = calls.iter().filter(|call| within(call.start)).collect();
        let answered = |wanted: fn(&Answer) -> bool| {
            calls.iter().filter(|call| wanted(&call.answer)).count().to_string()
        };
        let writes = calls.iter().filter(|call| call.request.is_write() && is_answer(&call.answer));
        let slowest = writes.map(|call| call.end - call.start).max().unwrap_or_default();
        let found = |kinds: &[ViolationKind]| {
            let violations = verdict.violations.iter();
            violations.filter(|found| within(found.at) && kinds.contains(&found.kind)).count().to_string()
        };
        let seconds: Duration = times.iter().map(|time| Duration::from_nanos(time.end - time.start)).sum();
        let mut cells = vec![
            name.to_owned(),
            format!("{:.0}", seconds.as_secs_f64()),
            faults(counts),
            calls.len().to_string(),
            answered(Answer::is_acknowledged),
            answered(Answer::is_rejected),
            answered(|answer| matches!(answer, Answer::Unavailable)),
            answered(|answer| matches!(answer, Answer::Lost | Answer::NotSent | Answer::TimedOut)),
            format!("{:.2} s", Duration::from_nanos(slowest).as_secs_f64()),
        ];
        cells.extend(VIOLATIONS.map(|(_, kinds)| found(kinds)));
        let recovery = (!recovery.is_zero()).then(|| format!("{:.2} s", recovery.as_secs_f64()));
        cells.push(recovery.unwrap_or_default());
        table.add_row(cells);
    };
    // A phase may have been repeated.
    let mut names: Vec<_> = records.iter().map(|record| record.name).collect();
    let mut seen = Vec::new();
    names.retain(|name| {
        !seen.contains(name) && {
            seen.push(*name);
            true
        }
    });
    for name in names {
        let same: Vec<_> = records.iter().filter(|record| record.name == name).collect();
        let times: Vec<_> = same.iter().map(|record| record.began..record.ended).collect();
        let counts: Vec<_> = same.iter().flat_map(|record| record.counts.iter().copied()).collect();
        let recovery = same.iter().map(|record| record.longest_recovery).max().unwrap_or_default();
        row(name, &times, &counts, recovery);
    }
    row("read in the end", std::slice::from_ref(&reading), &[], Duration::ZERO);
    let counts: Vec<_> = records.iter().flat_map(|record| record.counts.iter().copied()).collect();
    let longest = records.iter().map(|record| record.longest_recovery).max().unwrap_or_default();
    let all = 0..reading.end;
    row("in all", std::slice::from_ref(&all), &counts, longest);
    let latency = |latency: Option<Latency>| {
        latency.map_or_else(
            || "unknown".to_owned(),
            |latency| format!("{:.2} ms ({:.0} ms by time)", latency.median, latency.by_time),
        )
    };
    format!(
        "{}\n\nMedian of matches and unmatches while no row was locked: {}; of those that no lock concerned while rows were: {}.",
        table.trim_fmt(),
        latency(verdict.latencies.quiet),
        latency(verdict.latencies.beside_locks)
    )
}

fn is_answer(answer: &Answer) -> bool {
    !matches!(answer, Answer::Lost | Answer::NotSent)
}

fn faults(counts: &[(Fault, usize)]) -> String {
    let texts = FAULTS.iter().filter_map(|(name, fault)| {
        let count: usize = counts.iter().filter(|(kind, _)| kind == fault).map(|(_, count)| count).sum();
        (count > 0).then(|| format!("{count} {name}"))
    });
    texts.collect::<Vec<_>>().join(", ")
}
