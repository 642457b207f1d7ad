//! What the readers of changes have seen in the end.

use super::{Checker, Verdict, ViolationKind};
use crate::feed::{FeedReader, Relations};

impl Checker<'_> {
    /// Each reader knows the last state of each relation, and no other relation. The truth is the table or, without it, what a
    /// reader has read from the start in the end.
    pub(super) fn feeds(&self, verdict: &mut Verdict) {
        let readers = || self.run.readers.iter().filter(|reader| !reader.absent);
        for reader in readers() {
            for (at, fault) in &reader.faults {
                verdict.add(ViolationKind::Answer, *at, format!("{}: {fault}", name(reader)));
            }
            for at in reader.restarts.iter().filter(|_| !self.conditions.shards_move) {
                verdict.add(ViolationKind::Answer, *at, format!("{} was told to start again.", name(reader)));
            }
            let truth = match &self.conditions.tables {
                Some(tables) => tables.relations.get(&reader.organisation),
                None => {
                    readers().rfind(|other| other.organisation == reader.organisation).map(|last| &last.seen)
                }
            };
            if let Some(truth) = truth {
                verdict.followed += truth.len();
                compare(reader, truth, verdict);
            }
        }
    }
}

fn compare(reader: &FeedReader, truth: &Relations, verdict: &mut Verdict) {
    for ([low, high], row) in truth {
        let seen = reader.seen.get(&[low.clone(), high.clone()]);
        if seen != Some(row) {
            let text = format!(
                "{} has missed a change of {low} and {high}:\n  it has seen {seen:?}\n  there is {row:?}",
                name(reader)
            );
            verdict.add(ViolationKind::Missing, 0, text);
        }
    }
    for [low, high] in reader.seen.keys().filter(|pair| !truth.contains_key(*pair)) {
        let text = format!("{} has seen a relation of {low} and {high}, which does not exist.", name(reader));
        verdict.add(ViolationKind::Trace, 0, text);
    }
}

fn name(reader: &FeedReader) -> String {
    let (organisation, limit) = (reader.organisation, reader.manner.limit);
    format!("A reader of the changes of organisation {organisation} with pages of {limit}")
}
