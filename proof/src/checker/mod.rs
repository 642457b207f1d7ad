//! Compares a history with the guarantees of docs/proof.md.
//!
//! - `answers`: every call has an answer that the contract allows, in time
//! - `pairs`: the history of each pair is linearizable, which is "exactly once" and "fenced"
//! - `addresses`: one customer for each e-mail address, created once
//! - `sessions`: an identity is valid until its logout, and never after
//! - `lists`: each list by itself, and the last ones from both sides
//! - `isolation`: a lock delays only the calls that it concerns
//! - `feed`: each reader of changes knows what there is in the end
//! - `tables`: the tables hold what the calls of their time left

mod addresses;
mod answers;
mod feed;
mod isolation;
mod lists;
mod pairs;
mod sessions;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

pub use self::isolation::{Latencies, Latency};
pub use self::tables::Tables;
use crate::call::{Answer, Call, List, Request};
use crate::customers::Id;
use crate::explain;
use crate::interner::Symbol;
use crate::model::Time;
use crate::run::Run;

/// A write is answered by then, and takes no effect later, whether it was answered or not.
pub const WRITE_DEADLINE: Duration = Duration::from_millis(9_500);
/// A read is answered by then (`--request-timeout`).
pub const READ_DEADLINE: Duration = Duration::from_secs(20);
/// For what the clients' machine adds: two cores run the servers, Postgres and the clients.
pub const TOLERANCE: Duration = Duration::from_millis(500);

/// A guarantee that does not hold.
pub struct Violation {
    pub kind: ViolationKind,
    /// When it was called for, or seen.
    pub at: Time,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ViolationKind {
    /// No linearization of the calls about a pair, or of an identity, exists.
    Missing,
    /// It would exist if a call had taken effect after it was answered.
    Stale,
    /// It would exist if a call had taken effect twice before it was answered.
    Repeated,
    /// It would exist if a representation showed what another call wrote.
    Representation,
    /// Two relations of a pair, two customers with one e-mail address, or an effect that was acknowledged twice.
    Doubled,
    Late,
    /// A call that no lock concerned was delayed or not served while only locks were held.
    NotIsolated,
    /// An answer that the contract does not allow.
    Answer,
    /// A rejected call left a trace.
    Trace,
}

/// What a run was exposed to.
#[derive(Default)]
pub struct Conditions {
    /// Whether connections were cut and processes killed: then calls may be unavailable or lost.
    pub faults: bool,
    /// When nothing but locks could delay a call.
    pub only_locks: Vec<Range<Time>>,
    pub tables: Option<Tables>,
    /// Whether rows moved to another node, where changes are numbered anew: then readers of changes may be told to start again.
    pub shards_move: bool,
}

#[derive(Default)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    pub pairs: usize,
    /// Calls, and what lists show, of each pair.
    pub operations: usize,
    /// Relations whose last state each reader of changes had to know, of all readers together.
    pub followed: usize,
    /// Pairs with too many calls at a time to be searched.
    pub undecided: usize,
    pub latencies: Latencies,
}

impl Verdict {
    fn add(&mut self, kind: ViolationKind, at: Time, text: String) {
        self.violations.push(Violation { kind, at, text });
    }
}

pub fn check(run: &Run, conditions: &Conditions) -> Verdict {
    let checker = Checker { run, conditions, by_email: run.by_email() };
    let mut verdict = Verdict::default();
    checker.answers(&mut verdict);
    checker.addresses(&mut verdict);
    checker.sessions(&mut verdict);
    checker.lists(&mut verdict);
    checker.both_sides(&mut verdict);
    checker.isolation(&mut verdict);
    checker.tables(&mut verdict);
    checker.feeds(&mut verdict);
    checker.pairs(&mut verdict);
    verdict
}

struct Checker<'a> {
    run: &'a Run,
    conditions: &'a Conditions,
    by_email: HashMap<Symbol, Id>,
}

impl Checker<'_> {
    fn name(&self, id: Id) -> String {
        explain::name(&self.run.world, id)
    }

    fn text(&self, symbol: Symbol) -> String {
        self.run.world.interner.text(symbol)
    }

    fn line(&self, call: &Call) -> String {
        explain::line(&self.run.world, call)
    }

    fn all_lists(&self) -> impl Iterator<Item = (&Call, Id, &List)> {
        self.run.calls.iter().filter_map(|call| match (&call.request, &call.answer) {
            (Request::List { of }, Answer::Listed(list)) => Some((call, *of, list)),
            _ => None,
        })
    }
}

/// When an unanswered write can take effect for the last time.
///
/// A 503 is an answer: there is no effect after it. Without an answer the server has its deadline.
fn last_effect(call: &Call) -> Time {
    match call.answer {
        Answer::Lost | Answer::TimedOut | Answer::Unexpected(_) => {
            call.end.max(call.start.saturating_add(nanoseconds(WRITE_DEADLINE + TOLERANCE)))
        }
        _ => call.end,
    }
}

/// Whether a write took effect once.
fn is_certain(answer: &Answer) -> bool {
    answer.is_served() && !matches!(answer, Answer::Unexpected(_))
}

fn nanoseconds(duration: Duration) -> Time {
    Time::try_from(duration.as_nanos()).unwrap_or(Time::MAX)
}
