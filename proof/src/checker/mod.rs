//! Whether the history is what the contract promises.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::call::{Answer, Call, Item, List, Request};
use crate::customers::{FIRST_OUTSIDER, Id};
use crate::explain;
use crate::interner::Symbol;
use crate::model::{Effect, Kind, Op, Sight, Time};
use crate::run::Run;
use crate::search::{Failure, check};
use crate::shrink::shortest;

/// How long an unanswered call may still take effect after its client has given up: an attempt of the server (5.5 s) and a
/// statement of Postgres that outlives it (5 s) are less.
const LINGER: Duration = Duration::from_secs(15);
/// Histories that are explained at length.
const EXPLAINED: usize = 3;

/// What must not be.
pub struct Violation {
    pub fault: Fault,
    /// When it was asked for, or seen.
    pub at: Time,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What was answered is not there, or something else is: no order of the calls explains it.
    Missing,
    /// Two relations of a pair, or two customers with one address.
    Doubled,
    /// An answer that nobody may get.
    Answer,
    /// What was refused left a trace.
    Trace,
}

/// What was found.
#[derive(Default)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    pub pairs: usize,
    /// Calls, and what lists say, for each pair.
    pub operations: usize,
    /// Pairs with too many calls at a time to be searched.
    pub undecided: usize,
}

/// `broken`: whether something was, on purpose; then calls may be unavailable or lost, and writes may be repeated.
pub fn judge(run: &Run, broken: bool) -> Verdict {
    let judge = Judge::new(run, broken);
    let mut verdict = Verdict::default();
    judge.answers(&mut verdict);
    judge.identities(&mut verdict);
    judge.lists(&mut verdict);
    judge.both_sides(&mut verdict);
    judge.pairs(&mut verdict);
    verdict
}

type Pair = (Id, Id);

struct Judge<'a> {
    run: &'a Run,
    broken: bool,
    by_email: HashMap<Symbol, Id>,
}

impl<'a> Judge<'a> {
    fn new(run: &'a Run, broken: bool) -> Self {
        Self { run, broken, by_email: run.by_email() }
    }

    fn name(&self, id: Id) -> String {
        let customers = &self.run.world.customers;
        customers.reference(id).unwrap_or_else(|| customers.email(id))
    }

    fn text(&self, symbol: Symbol) -> String {
        self.run.world.symbols.text(symbol)
    }

    fn tell(&self, call: &Call) -> String {
        explain::line(&self.run.world, call)
    }

    /// Every call has an answer, and one that it may have.
    fn answers(&self, verdict: &mut Verdict) {
        for call in &self.run.calls {
            let settled = call.start >= self.run.settled;
            let wrong = match call.answer {
                Answer::Unexpected(_) => "This answer is never right:",
                Answer::Late => "A request takes no longer than 20 s, whatever happens:",
                Answer::Unavailable | Answer::Lost | Answer::NotSent if !self.broken || settled => {
                    "Nothing was broken, and yet this was not served:"
                }
                _ => continue,
            };
            let text = format!("{wrong}\n{}", self.tell(call));
            verdict.violations.push(Violation { fault: Fault::Answer, at: call.start, text });
        }
    }

    /// One customer for each address, created once, shown in the normal form; none for what was refused.
    fn identities(&self, verdict: &mut Verdict) {
        let mut references: BTreeMap<Id, (Symbol, &Call)> = BTreeMap::new();
        let mut creators: BTreeMap<Id, &Call> = BTreeMap::new();
        let mut note = |fault, call: &Call, text: String| {
            let text = format!("{text}\n{}", self.tell(call));
            verdict.violations.push(Violation { fault, at: call.start, text });
        };
        for call in &self.run.calls {
            let mut shown: Vec<(Id, Symbol, Option<Symbol>)> = Vec::new();
            let mut created = None;
            match (&call.request, &call.answer) {
                (Request::Create { id }, Answer::Customer { created: new, reference, email }) => {
                    shown.push((*id, *reference, Some(*email)));
                    created = new.then_some(*id);
                    if *id >= FIRST_OUTSIDER && !new {
                        note(
                            Fault::Trace,
                            call,
                            "Only refused calls named this address, and yet somebody has it:".into(),
                        );
                    }
                }
                (Request::Match { manager, customer, .. }, Answer::Matched(Some(relation))) => {
                    shown.push((*manager, relation.manager, None));
                    shown.push((*customer, relation.customer, Some(relation.email)));
                    created = relation.customer_created.then_some(*customer);
                }
                (_, Answer::Listed(list)) => {
                    for item in &list.items {
                        match self.by_email.get(&item.email) {
                            Some(id) if *id < FIRST_OUTSIDER => shown.push((*id, item.reference, None)),
                            _ => {
                                let text = format!(
                                    "Nobody matched {} <{}>, who is in the list:",
                                    self.text(item.reference),
                                    self.text(item.email)
                                );
                                note(Fault::Trace, call, text);
                            }
                        }
                    }
                }
                _ => {}
            }
            for (id, reference, email) in shown {
                let (first, earlier) = references.entry(id).or_insert((reference, call));
                let normal = self.run.world.customers.email(id);
                if *first != reference {
                    let text = format!(
                        "{normal} is two customers, {} and {}:\n{}",
                        self.text(*first),
                        self.text(reference),
                        self.tell(earlier)
                    );
                    note(Fault::Doubled, call, text);
                }
                if email.is_some_and(|email| self.text(email) != normal) {
                    note(Fault::Answer, call, format!("The normal form is {normal}:"));
                }
            }
            if let Some(id) = created
                && let Some(first) = creators.insert(id, call)
            {
                let text = format!("{} was created twice:\n{}", self.name(id), self.tell(first));
                note(Fault::Doubled, call, text);
            }
        }
    }

    /// A list has nobody twice, not its owner, and as many as it says.
    fn lists(&self, verdict: &mut Verdict) {
        for (call, of, list) in self.all_lists() {
            let mut seen = HashSet::new();
            let twice = list.items.iter().find(|item| !seen.insert(item.reference));
            let itself = list.items.iter().find(|item| self.by_email.get(&item.email) == Some(&of));
            let miscounted = list.complete && list.pages == 1 && list.item_count != list.items.len() as u64;
            let wrong = match (twice, itself) {
                (Some(item), _) => {
                    (Fault::Doubled, format!("{} is in the list twice:", self.text(item.reference)))
                }
                (_, Some(_)) => (Fault::Trace, format!("{} is matched with itself:", self.name(of))),
                _ if miscounted => {
                    let text =
                        format!("itemCount is {}, the items are {}:", list.item_count, list.items.len());
                    (Fault::Answer, text)
                }
                _ => continue,
            };
            let text = format!("{}\n{}", wrong.1, self.tell(call));
            verdict.violations.push(Violation { fault: wrong.0, at: call.start, text });
        }
    }

    /// When nothing changes any more both sides see the same.
    fn both_sides(&self, verdict: &mut Verdict) {
        let mut last: BTreeMap<Pair, (&Call, Item)> = BTreeMap::new();
        let mut read = HashSet::new();
        for (call, of, list) in self.all_lists().filter(|(call, ..)| call.start >= self.run.settled) {
            read.insert(of);
            for item in &list.items {
                if let Some(other) = self.by_email.get(&item.email) {
                    last.insert((of, *other), (call, *item));
                }
            }
        }
        for ((of, other), (call, item)) in &last {
            let mirrored = |item: &Item| Item {
                manages: item.is_managed,
                is_managed: item.manages,
                reference: Symbol::default(),
                email: Symbol::default(),
                ..*item
            };
            let plain =
                |item: &Item| Item { reference: Symbol::default(), email: Symbol::default(), ..*item };
            let seen = last.get(&(*other, *of));
            if !read.contains(other) || seen.is_some_and(|(_, seen)| mirrored(seen) == plain(item)) {
                continue;
            }
            let counterpart = seen.map_or_else(
                || "is not in the other's list".to_owned(),
                |(call, _)| format!("the other side sees\n{}", self.tell(call)),
            );
            let text = format!(
                "{} and {} do not see the same: {counterpart}\n{}",
                self.name(*of),
                self.name(*other),
                self.tell(call)
            );
            verdict.violations.push(Violation { fault: Fault::Missing, at: call.start, text });
        }
    }

    /// The answers about each pair are explained by an order of the calls.
    fn pairs(&self, verdict: &mut Verdict) {
        let mut pairs: BTreeMap<Pair, Vec<Op>> = BTreeMap::new();
        for (index, call) in self.run.calls.iter().enumerate() {
            if let Request::Match { manager, customer, .. } | Request::Unmatch { manager, customer } =
                call.request
            {
                self.add_write(index, call, pairs.entry(ordered(manager, customer)).or_default());
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
                // Before the first write there is nothing to be seen, as a rule.
                ops.extend(
                    views
                        .filter_map(|view| self.read(view, other))
                        .filter(|op| op.end > first_write || op.kind != Kind::Read(Sight::Absent)),
                );
            }
            verdict.pairs += 1;
            verdict.operations += ops.len();
            match check(&ops) {
                Ok(()) => {}
                Err(Failure::TooManyOrders) => verdict.undecided += 1,
                Err(Failure::NoOrder(failed)) => failures.push((ops[failed].call, pair, ops)),
            }
        }
        failures.sort_by_key(|(failed, ..)| self.run.calls[*failed].start);
        for (index, (failed, pair, ops)) in failures.into_iter().enumerate() {
            let failed = &self.run.calls[failed];
            let names = format!("{} and {}", self.name(pair.0), self.name(pair.1));
            let (at, text) = if index < EXPLAINED {
                let core = shortest(ops);
                let story = explain::about(&self.run.world, &self.run.calls, pair, &core);
                let answered = |op: &&Op| !matches!(op.kind, Kind::Read(_)) && op.effect != Effect::Perhaps;
                let at = core.iter().filter(answered).map(|op| op.start).max().unwrap_or(failed.start);
                (
                    at,
                    format!(
                        "about {names}, whatever the others did in their time; these suffice to show it:\n{story}"
                    ),
                )
            } else {
                (failed.start, format!("about {names} as far as this one:\n{}", self.tell(failed)))
            };
            let text = format!("No order explains the answers to the calls {text}");
            verdict.violations.push(Violation { fault: Fault::Missing, at, text });
        }
    }

    fn add_write(&self, index: usize, call: &Call, ops: &mut Vec<Op>) {
        let mut op = Op {
            start: call.start,
            end: call.end,
            kind: Kind::Unmatch { found: !matches!(call.answer, Answer::NeverMatched) },
            effect: if self.broken { Effect::AtLeastOnce } else { Effect::Once },
            call: index,
        };
        if let Request::Match { manager, customer, notice, .. } = call.request {
            let change = match call.answer {
                Answer::Matched(Some(relation)) => Some(relation.change),
                _ => None,
            };
            op.kind = Kind::Match { manager: usize::from(manager > customer), notice, change };
        }
        match &call.answer {
            Answer::NotSent => return,
            Answer::Unavailable | Answer::Lost | Answer::Late | Answer::Unexpected(_) => {
                let linger = Time::try_from(LINGER.as_nanos()).unwrap_or(Time::MAX);
                op.end = op.end.saturating_add(linger).min(self.run.settled.max(op.end));
                op.effect = Effect::Perhaps;
            }
            Answer::Matched(Some(relation)) => {
                let shown = Sight::Shown { active: relation.active, notice: relation.notice };
                ops.push(Op { kind: Kind::Read(shown), effect: Effect::Once, ..op });
            }
            _ => {}
        }
        ops.push(op);
    }

    fn all_lists(&self) -> impl Iterator<Item = (&Call, Id, &List)> {
        self.run.calls.iter().filter_map(|call| match (&call.request, &call.answer) {
            (Request::List { of }, Answer::Listed(list)) => Some((call, *of, list)),
            _ => None,
        })
    }

    fn view(&self, call: usize, of: Id, list: &List) -> View {
        let others = list.items.iter().filter_map(|item| {
            let other = *self.by_email.get(&item.email)?;
            let mut managers = [item.is_managed, item.manages];
            if other < of {
                managers.reverse();
            }
            Some((other, Sight::Listed { managers, notice: item.notice }))
        });
        View { call, complete: list.complete, others: others.collect() }
    }

    fn read(&self, view: &View, other: Id) -> Option<Op> {
        let absent = view.complete.then_some(Sight::Absent);
        let sight = view.others.get(&other).copied().or(absent)?;
        let Call { start, end, .. } = self.run.calls[view.call];
        Some(Op { start, end, kind: Kind::Read(sight), effect: Effect::Once, call: view.call })
    }
}

fn ordered(one: Id, other: Id) -> Pair {
    (one.min(other), one.max(other))
}

/// A list, as far as its pairs are concerned.
struct View {
    call: usize,
    complete: bool,
    others: HashMap<Id, Sight>,
}
