//! Whether there is an order of the calls on a pair that explains every answer.
//!
//! The order must be consistent with real time: a call that ended before another began comes before it. Each call takes
//! effect at one moment between its start and its end. This is linearizability (Herlihy and Wing, 1990), which is local:
//! a history is linearizable if that of each pair is.
//!
//! The search goes through the history once, from moment to moment, and keeps every state that the relation may be in,
//! together with the calls under way that have taken effect by then (Wing and Gong's search, with each configuration
//! remembered as Lowe does, and calls ordered no earlier than an answer demands). When a call ends, those
//! configurations stay in which it has taken effect and would have been answered so. When none is left there is no order.

use std::collections::HashSet;

use crate::model::{Effect, Kind, Op, State};

/// Why a history was not explained.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// No order explains the answers up to this operation's.
    NoOrder(usize),
    /// There are more orders to be tried than there is memory for: too many calls on one pair at the same time.
    TooManyOrders,
}

/// Configurations at one moment. They are a handful as a rule.
const MOST_CONFIGURATIONS: usize = 4_000_000;
/// Of [`Configuration::done`].
const SLOTS: usize = 128;

/// Explains the history, which may be in any order.
pub fn check(ops: &[Op]) -> Result<(), Failure> {
    let answered = |op: &&Op| op.effect != Effect::Perhaps;
    // What takes effect after the last answer disturbs nobody.
    let last = ops.iter().filter(answered).map(|op| op.end).max().unwrap_or_default();
    let mut events = Vec::with_capacity(2 * ops.len());
    for (index, op) in ops.iter().enumerate() {
        events.push((op.start, Event::Start, index));
        events.push((op.end, Event::End, index));
    }
    events.retain(|(at, ..)| *at <= last);
    // Calls that touch are taken to overlap.
    events.sort_unstable();
    let mut search =
        Search { ops, slots: [None; SLOTS], perhaps: Vec::new(), configurations: HashSet::new() };
    search.configurations.insert(Configuration::default());
    for (_, event, index) in events {
        match event {
            Event::Start => search.start(index)?,
            Event::End => search.end(index)?,
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Start,
    End,
}

/// What may be true at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Configuration {
    state: State,
    /// A bit for each slot whose operation has taken effect.
    done: u128,
}

struct Search<'a> {
    ops: &'a [Op],
    /// Answered operations that are under way.
    slots: [Option<usize>; SLOTS],
    /// Unanswered ones that may still take effect.
    perhaps: Vec<usize>,
    configurations: HashSet<Configuration>,
}

impl Search<'_> {
    fn start(&mut self, index: usize) -> Result<(), Failure> {
        if self.ops[index].effect == Effect::Perhaps {
            self.perhaps.push(index);
            return Ok(());
        }
        let free = self.slots.iter_mut().find(|slot| slot.is_none()).ok_or(Failure::TooManyOrders)?;
        *free = Some(index);
        Ok(())
    }

    fn end(&mut self, index: usize) -> Result<(), Failure> {
        let Some(slot) = self.slots.iter().position(|slot| *slot == Some(index)) else {
            // From here on it takes no effect, so whether it has must be settled.
            self.advance(None)?;
            self.perhaps.retain(|op| *op != index);
            return Ok(());
        };
        let bit = 1 << slot;
        self.advance(Some(bit))?;
        self.slots[slot] = None;
        let ended = self.configurations.iter().filter(|configuration| configuration.done & bit != 0);
        self.configurations =
            ended.map(|ended| Configuration { done: ended.done & !bit, ..*ended }).collect();
        if self.configurations.is_empty() { Err(Failure::NoOrder(index)) } else { Ok(()) }
    }

    /// Lets operations under way take effect, in every order, but no more of them once that of `until` has.
    fn advance(&mut self, until: Option<u128>) -> Result<(), Failure> {
        let mut waiting: Vec<_> = self.configurations.drain().collect();
        for configuration in &mut waiting {
            self.read(configuration);
        }
        let mut reached = HashSet::with_capacity(waiting.len());
        while let Some(configuration) = waiting.pop() {
            if !reached.insert(configuration) || until.is_some_and(|bit| configuration.done & bit != 0) {
                continue;
            }
            if reached.len() > MOST_CONFIGURATIONS {
                return Err(Failure::TooManyOrders);
            }
            let mut push = |mut next: Configuration| {
                self.read(&mut next);
                if !reached.contains(&next) {
                    waiting.push(next);
                }
            };
            let Configuration { state, done } = configuration;
            for (slot, op) in self.under_way() {
                let bit = 1 << slot;
                if done & bit != 0 || matches!(op.kind, Kind::Read(_)) {
                    continue;
                }
                if state.answers(op.kind) {
                    push(Configuration { state: state.after(op.kind), done: done | bit });
                }
                if op.effect == Effect::AtLeastOnce {
                    push(Configuration { state: state.after(op.kind), done });
                }
            }
            for index in &self.perhaps {
                push(Configuration { state: state.after(self.ops[*index].kind), done });
            }
        }
        self.configurations = reached;
        Ok(())
    }

    /// Reads take effect as soon as they may: they change nothing, so that nobody gains by waiting.
    fn read(&self, configuration: &mut Configuration) {
        for (slot, op) in self.under_way() {
            if matches!(op.kind, Kind::Read(_)) && configuration.state.answers(op.kind) {
                configuration.done |= 1 << slot;
            }
        }
    }

    fn under_way(&self) -> impl Iterator<Item = (usize, &Op)> {
        let taken = self.slots.iter().enumerate().filter_map(|(slot, index)| Some((slot, (*index)?)));
        taken.map(|(slot, index)| (slot, &self.ops[index]))
    }
}
