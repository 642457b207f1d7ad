//! The history of each pair is linearizable: what was acknowledged took effect exactly once between its start and its
//! answer, what was not at most once and in its time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{Checker, Verdict, ViolationKind, is_certain, last_effect, nanoseconds};
use crate::call::{Answer, Call, List, Request};
use crate::customers::Id;
use crate::explain;
use crate::model::{Effect, Kind, Listing, Op, State, Time, until};
use crate::search::{Failure, check, check_from, states_after};
use crate::shrink::shortest;

/// Of each kind of violation so many are minimised.
const MAX_EXPLAINED: usize = 3;
/// Of so many violations the cause is searched for, which takes many searches of the pair.
const MAX_CLASSIFIED: usize = 60;
/// Calls that are tried as the cause, the slowest first,
const MAX_SUSPECTS: usize = 24;
/// of those that ended so long before at most.
const MAX_AGE: Duration = Duration::from_secs(45);

type Pair = (Id, Id);

/// A list, as far as its pairs are concerned.
struct View {
    call: usize,
    complete: bool,
    others: HashMap<Id, Listing>,
}

impl Checker<'_> {
    pub(super) fn pairs(&self, verdict: &mut Verdict) {
        let mut pairs: BTreeMap<Pair, Vec<Op>> = BTreeMap::new();
        for (index, call) in self.run.calls.iter().enumerate() {
            if let Some((pair, op)) = write(index, call) {
                pairs.entry(pair).or_default().push(op);
            }
        }
        let mut lists: HashMap<Id, Vec<View>> = HashMap::new();
        for (index, call) in self.run.calls.iter().enumerate() {
            let (Request::List { of }, Answer::Listed(list)) = (&call.request, &call.answer) else {
                continue;
            };
            let view = self.view(index, *of, list);
            for other in view.others.keys() {
                pairs.entry(ordered(*of, *other)).or_default();
            }
            lists.entry(*of).or_default().push(view);
        }
        let mut failures = Vec::new();
        for (pair, mut ops) in pairs {
            let first_write = ops.iter().map(|op| op.start).min().unwrap_or(Time::MAX);
            for (of, other) in [pair, (pair.1, pair.0)] {
                let views = lists.get(&of).into_iter().flatten();
                // An absence before the first write says nothing.
                ops.extend(
                    views
                        .filter_map(|view| self.listing(view, other))
                        .filter(|op| op.end > first_write || op.kind != Kind::List(Listing::Absent)),
                );
            }
            verdict.pairs += 1;
            verdict.operations += ops.len();
            match failures_of(&ops) {
                None => verdict.undecided += 1,
                Some(of_pair) => failures.extend(of_pair.into_iter().map(|failure| (pair, failure))),
            }
        }
        failures.sort_by_key(|(_, failure)| failure.failed.start);
        let (mut explained, mut classified): (BTreeMap<ViolationKind, usize>, _) = (BTreeMap::new(), 0);
        for (pair, failure) in failures {
            let cause = if failure.has_order(&without_shown(&failure.ops)) {
                Cause::Representation
            } else if classified < MAX_CLASSIFIED {
                classified += 1;
                find_call(&failure)
            } else {
                Cause::Unknown
            };
            let count = explained.entry(cause.kind()).or_default();
            *count += 1;
            self.failure(pair, failure, &cause, *count <= MAX_EXPLAINED, verdict);
        }
    }

    fn failure(
        &self,
        pair: Pair,
        failure: PairFailure,
        cause: &Cause,
        is_explained: bool,
        verdict: &mut Verdict,
    ) {
        let PairFailure { failed, states, ops } = failure;
        let names = format!("{} and {}", self.name(pair.0), self.name(pair.1));
        let explanation = if is_explained {
            let core = shortest(&states, ops);
            let lines = explain::about(&self.run.world, &self.run.calls, pair, &core);
            format!("whatever the others did in their time; these suffice to show it:\n{lines}")
        } else {
            format!("up to this one:\n{}\n", self.line(&self.run.calls[failed.call]))
        };
        let line = |op: &Op| self.line(&self.run.calls[op.call]);
        let (at, hint) = match cause {
            Cause::Unknown => (failed.start, String::new()),
            Cause::Representation => (
                failed.start,
                "An order exists if representations may show what other calls wrote.".to_owned(),
            ),
            Cause::Repeated(op) => (
                op.start,
                format!(
                    "An order exists if this call took effect twice before it was answered:\n{}",
                    line(op)
                ),
            ),
            Cause::Stale(op) => (
                op.start,
                format!("An order exists if this call took effect after it was answered:\n{}", line(op)),
            ),
        };
        let text = format!("No order explains the answers to the calls about {names}, {explanation}{hint}");
        verdict.add(cause.kind(), at, text);
    }

    fn view(&self, call: usize, of: Id, list: &List) -> View {
        let others = list.items.iter().filter_map(|item| {
            let other = *self.by_email.get(&item.email)?;
            let mut managers = [item.is_managed, item.manages];
            if other < of {
                managers.reverse();
            }
            Some((other, Listing::Present { managers, notice: item.notice }))
        });
        View { call, complete: list.complete, others: others.collect() }
    }

    fn listing(&self, view: &View, other: Id) -> Option<Op> {
        let absent = view.complete.then_some(Listing::Absent);
        let listing = view.others.get(&other).copied().or(absent)?;
        let Call { start, end, .. } = self.run.calls[view.call];
        Some(Op { start, end, kind: Kind::List(listing), effect: Effect::Once, call: view.call })
    }
}

/// A history, up to the end of an operation, that has no linearization.
struct PairFailure {
    failed: Op,
    /// It begins in one of these.
    states: Vec<State>,
    ops: Vec<Op>,
}

impl PairFailure {
    /// Without what a moment ended at which no call was in flight, long before the failure: many searches follow.
    fn new(ops: &[Op], failed: Op) -> Self {
        let mut ops = until(ops, failed.end);
        ops.sort_by_key(|op| op.start);
        let latest = failed.start.saturating_sub(2 * nanoseconds(MAX_AGE));
        let (mut end, mut cut) = (0, 0);
        for (index, op) in ops.iter().enumerate() {
            if op.start > end && end < latest {
                cut = index;
            }
            end = end.max(op.end);
        }
        match states_after(&ops[..cut]) {
            Ok(states) => Self { failed, states, ops: ops.split_off(cut) },
            Err(_) => Self { failed, states: vec![State::default()], ops },
        }
    }

    fn has_order(&self, ops: &[Op]) -> bool {
        check_from(&self.states, ops).is_ok()
    }
}

/// The first failure, and the first one that is there whatever representations show. `None`: it could not be decided.
fn failures_of(ops: &[Op]) -> Option<Vec<PairFailure>> {
    let mut failures = Vec::new();
    match check(ops) {
        Ok(()) => return Some(failures),
        Err(Failure::TooManyConfigurations) => return None,
        Err(Failure::NotLinearizable(failed)) => failures.push(PairFailure::new(ops, ops[failed])),
    }
    let ops = without_shown(ops);
    if let Err(Failure::NotLinearizable(failed)) = check(&ops) {
        if ops[failed].call == failures[0].failed.call {
            failures.clear();
        }
        failures.push(PairFailure::new(&ops, ops[failed]));
    }
    Some(failures)
}

fn without_shown(ops: &[Op]) -> Vec<Op> {
    let hide = |op: &Op| match op.kind {
        Kind::Match { shown: Some(_), .. } => Op { kind: op.kind.unanswered(), ..*op },
        _ => *op,
    };
    ops.iter().map(hide).collect()
}

/// What would make the history linearizable.
enum Cause {
    Unknown,
    Representation,
    Repeated(Op),
    Stale(Op),
}

impl Cause {
    fn kind(&self) -> ViolationKind {
        match self {
            Self::Unknown => ViolationKind::Missing,
            Self::Representation => ViolationKind::Representation,
            Self::Repeated(_) => ViolationKind::Repeated,
            Self::Stale(_) => ViolationKind::Stale,
        }
    }
}

/// The call that explains everything if it alone breaks its guarantee.
fn find_call(failure: &PairFailure) -> Cause {
    let PairFailure { failed, ops, .. } = failure;
    let is_recent = |op: &&Op| op.end.saturating_add(nanoseconds(MAX_AGE)) > failed.start;
    let writes = ops.iter().filter(|op| !op.kind.is_read());
    let mut suspects: Vec<Op> = writes.filter(is_recent).copied().collect();
    suspects.sort_by_key(|op| std::cmp::Reverse(op.end - op.start));
    let explains = |suspect: &Op, end: Time| {
        let again = Op { end, effect: Effect::AtMostOnce, kind: suspect.kind.unanswered(), ..*suspect };
        failure.has_order(&[ops.as_slice(), &[again]].concat())
    };
    for suspect in suspects.into_iter().take(MAX_SUSPECTS) {
        if explains(&suspect, failed.end) {
            return if explains(&suspect, suspect.end) {
                Cause::Repeated(suspect)
            } else {
                Cause::Stale(suspect)
            };
        }
    }
    Cause::Unknown
}

fn write(index: usize, call: &Call) -> Option<(Pair, Op)> {
    let (pair, kind) = match call.request {
        Request::Match { manager, customer, notice, condition, .. } => {
            let shown = match call.answer {
                Answer::Matched(Some(relation)) => Some(relation.shown),
                _ => None,
            };
            let expected = condition.map(|seen| seen.state);
            let kind = match call.answer {
                Answer::Conflict(seen) => Kind::Conflict(seen.state),
                _ => Kind::Match { manager: usize::from(manager > customer), notice, expected, shown },
            };
            (ordered(manager, customer), kind)
        }
        Request::Unmatch { manager, customer } => {
            let found = !matches!(call.answer, Answer::NeverMatched);
            (ordered(manager, customer), Kind::Unmatch { found })
        }
        _ => return None,
    };
    if matches!(call.answer, Answer::NotSent) {
        return None;
    }
    let effect = if is_certain(&call.answer) { Effect::Once } else { Effect::AtMostOnce };
    Some((pair, Op { start: call.start, end: last_effect(call), kind, effect, call: index }))
}

fn ordered(one: Id, other: Id) -> Pair {
    (one.min(other), one.max(other))
}
