//! Decides whether the history of a pair is linearizable.
//!
//! A linearization orders the operations consistently with real time: each takes effect at one moment between its start and
//! its end, and the answers are those of the sequential specification (Herlihy and Wing, 1990). Linearizability is local: a history is
//! linearizable if the history of each pair is.
//!
//! The search visits the starts and ends in the order of time and keeps every reachable configuration: a state, and which of the
//! operations in flight have taken effect (Wing and Gong's search with Lowe's memoisation). Operations take effect as late as an
//! end demands. At the end of an answered operation those configurations survive in which it has taken effect with the given answer;
//! when none survives, no linearization exists. Three rules keep the configurations few:
//!
//! - A list takes effect as soon as its answer is right, as it changes nothing.
//! - Of operations with the same effect and the same answer, the one that ends first takes effect first.
//! - Of two configurations that differ only in which unanswered operations have taken effect, one that used a subset of the
//!   other's replaces it: whatever the other can still do, this one can too.

use std::collections::{HashMap, HashSet};

use crate::model::{Effect, Op, State, Time};

/// Why a history was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// No linearization of the history up to the end of this operation exists.
    NotLinearizable(usize),
    /// More configurations than memory is given to: too many calls about one pair at the same time.
    TooManyConfigurations,
}

/// A handful is usual.
const MAX_CONFIGURATIONS: usize = 4_000_000;
/// Bits of a set of operations.
const MAX_SLOTS: usize = 128;

/// Accepts a linearizable history. The operations may come in any order.
pub fn check(ops: &[Op]) -> Result<(), Failure> {
    check_from(&[State::default()], ops)
}

/// The same for a history that begins in one of these states.
pub fn check_from(states: &[State], ops: &[Op]) -> Result<(), Failure> {
    // What takes effect after the last answer contradicts nothing.
    let answered = ops.iter().filter(|op| op.effect == Effect::Once);
    let last = answered.map(|op| op.end).max().unwrap_or_default();
    Search::run(states, ops, last).map(|_| ())
}

/// The states in which a history may end.
pub fn states_after(ops: &[Op]) -> Result<Vec<State>, Failure> {
    let reached = Search::run(&[State::default()], ops, Time::MAX)?;
    Ok(reached.iter().map(|(configuration, _)| configuration.state).collect())
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Start,
    End,
}

/// Operations in flight, each in the first slot that was free.
type Slots = Vec<Option<usize>>;
/// A set of operations in flight, a bit for each slot.
type Set = u128;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Configuration {
    state: State,
    /// Answered operations in flight that have taken effect.
    done: Set,
}

/// To each configuration the minimal sets of unanswered operations in flight that have taken effect.
#[derive(Default)]
struct Configurations {
    used: HashMap<Configuration, Vec<Set>>,
    count: usize,
}

impl Configurations {
    /// Adds one, unless another dominates it.
    fn insert(&mut self, configuration: Configuration, used: Set) -> bool {
        let sets = self.used.entry(configuration).or_default();
        if sets.iter().any(|set| set & used == *set) {
            return false;
        }
        let before = sets.len();
        sets.retain(|set| set & used != used);
        sets.push(used);
        self.count = self.count + sets.len() - before;
        true
    }

    fn iter(&self) -> impl Iterator<Item = (Configuration, Set)> {
        self.used.iter().flat_map(|(configuration, sets)| sets.iter().map(|used| (*configuration, *used)))
    }
}

#[derive(Clone, Copy)]
enum Until {
    Done(Set),
    Used(Set),
}

struct Search<'a> {
    ops: &'a [Op],
    /// Operations in flight by effect: answered ones, and those that may not have taken effect.
    answered: Slots,
    unanswered: Slots,
    any_number: Vec<usize>,
    configurations: Configurations,
}

impl<'a> Search<'a> {
    /// Up to the moment `last`.
    fn run(states: &[State], ops: &'a [Op], last: Time) -> Result<Configurations, Failure> {
        let mut configurations = Configurations::default();
        for state in states {
            configurations.insert(Configuration { state: *state, done: 0 }, 0);
        }
        let mut search = Self {
            ops,
            answered: Slots::new(),
            unanswered: Slots::new(),
            any_number: Vec::new(),
            configurations,
        };
        let mut events = Vec::with_capacity(2 * ops.len());
        for (index, op) in ops.iter().enumerate() {
            events.push((op.start, Event::Start, index));
            events.push((op.end, Event::End, index));
        }
        events.retain(|(at, ..)| *at <= last);
        // Starts first: an operation that starts at the moment at which another ends overlaps it.
        events.sort_unstable();
        for (_, event, index) in events {
            match event {
                Event::Start => search.start(index)?,
                Event::End => search.end(index)?,
            }
        }
        Ok(search.configurations)
    }

    fn start(&mut self, index: usize) -> Result<(), Failure> {
        let slots = match self.ops[index].effect {
            Effect::Once => &mut self.answered,
            Effect::AtMostOnce => &mut self.unanswered,
            Effect::AnyNumber => {
                self.any_number.push(index);
                return Ok(());
            }
        };
        match slots.iter().position(Option::is_none) {
            Some(free) => slots[free] = Some(index),
            None if slots.len() < MAX_SLOTS => slots.push(Some(index)),
            None => return Err(Failure::TooManyConfigurations),
        }
        Ok(())
    }

    fn end(&mut self, index: usize) -> Result<(), Failure> {
        let slot_of = |slots: &Slots| slots.iter().position(|slot| *slot == Some(index)).unwrap_or(0);
        match self.ops[index].effect {
            Effect::Once => {
                let slot = slot_of(&self.answered);
                self.end_answered(index, slot)
            }
            Effect::AtMostOnce => {
                let slot = slot_of(&self.unanswered);
                self.end_unanswered(slot)
            }
            Effect::AnyNumber => {
                self.configurations = self.reach(None)?;
                self.any_number.retain(|op| *op != index);
                Ok(())
            }
        }
    }

    fn end_answered(&mut self, index: usize, slot: usize) -> Result<(), Failure> {
        let bit = 1 << slot;
        let reached = self.reach(Some(Until::Done(bit)))?;
        self.answered[slot] = None;
        self.configurations = Configurations::default();
        for (configuration, used) in reached.iter().filter(|(configuration, _)| configuration.done & bit != 0)
        {
            let done = configuration.done & !bit;
            self.configurations.insert(Configuration { done, ..configuration }, used);
        }
        if self.configurations.count == 0 { Err(Failure::NotLinearizable(index)) } else { Ok(()) }
    }

    /// From now on it cannot take effect: either it has, after whatever had to come before, or it never does.
    fn end_unanswered(&mut self, slot: usize) -> Result<(), Failure> {
        let bit = 1 << slot;
        let reached = self.reach(Some(Until::Used(bit)))?;
        self.unanswered[slot] = None;
        let before = std::mem::take(&mut self.configurations);
        let has_it = |(_, used): &(Configuration, Set)| used & bit != 0;
        for (configuration, used) in before.iter().chain(reached.iter().filter(has_it)) {
            self.configurations.insert(configuration, used & !bit);
        }
        Ok(())
    }

    /// Lets operations in flight take effect in every order, and none after that of `until`.
    fn reach(&self, until: Option<Until>) -> Result<Configurations, Failure> {
        let mut reached = Configurations::default();
        let mut pending = Vec::new();
        let any_number: HashSet<_> = self.any_number.iter().map(|index| self.ops[*index].kind).collect();
        let mut push = |mut configuration: Configuration, used, pending: &mut Vec<_>| {
            self.read(&mut configuration);
            if reached.insert(configuration, used) {
                pending.push((configuration, used));
            }
            if reached.count > MAX_CONFIGURATIONS { Err(Failure::TooManyConfigurations) } else { Ok(()) }
        };
        for (configuration, used) in self.configurations.iter() {
            push(configuration, used, &mut pending)?;
        }
        while let Some((configuration, used)) = pending.pop() {
            let Configuration { state, done } = configuration;
            let is_last = match until {
                Some(Until::Done(bit)) => done & bit != 0,
                Some(Until::Used(bit)) => used & bit != 0,
                None => false,
            };
            if is_last {
                continue;
            }
            for (slot, op) in self.in_flight(&self.answered) {
                let bit = 1 << slot;
                let may = done & bit == 0 && !op.kind.is_read() && state.allows(op.kind);
                if may && self.ends_first(&self.answered, done, op) {
                    push(
                        Configuration { state: state.after(op.kind), done: done | bit },
                        used,
                        &mut pending,
                    )?;
                }
            }
            for (slot, op) in self.in_flight(&self.unanswered) {
                let bit = 1 << slot;
                let may = used & bit == 0 && state.allows(op.kind);
                if may && self.ends_first(&self.unanswered, used, op) {
                    push(Configuration { state: state.after(op.kind), done }, used | bit, &mut pending)?;
                }
            }
            for kind in &any_number {
                push(Configuration { state: state.after(*kind), done }, used, &mut pending)?;
            }
        }
        Ok(reached)
    }

    /// Lists in flight whose answer is right take effect.
    fn read(&self, configuration: &mut Configuration) {
        for (slot, op) in self.in_flight(&self.answered) {
            if op.kind.is_read() && configuration.state.allows(op.kind) {
                configuration.done |= 1 << slot;
            }
        }
    }

    fn in_flight<'s>(&'s self, slots: &'s Slots) -> impl Iterator<Item = (usize, &'s Op)> {
        let taken = slots.iter().enumerate().filter_map(|(slot, index)| Some((slot, (*index)?)));
        taken.map(|(slot, index)| (slot, &self.ops[index]))
    }

    /// Of the operations of this kind that have not taken effect.
    fn ends_first(&self, slots: &Slots, taken: Set, op: &Op) -> bool {
        self.in_flight(slots)
            .all(|(slot, other)| taken & (1 << slot) != 0 || other.kind != op.kind || other.end >= op.end)
    }
}
