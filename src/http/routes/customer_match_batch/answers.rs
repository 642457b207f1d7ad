//! The answers of a stream, in the order of its lines: once one is sent, all lines before it have finished.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use axum::body::Bytes;
use serde::Serialize;
use tokio_util::bytes::{BufMut, BytesMut};

use crate::fair_budget::Share;

/// How many bytes of answers are kept for a client that does not read, before the stream takes no more lines.
const CAPACITY: usize = 512 * 1024;
/// What a stream takes of the budget of answers: the capacity, and usual answers of all lines that are in flight then.
pub(super) const RESERVED: u64 = 2 * CAPACITY as u64;
/// Bytes that are sent at once: as many more are on their way without being counted.
const PIECE: usize = 64 * 1024;

pub(super) struct Answers {
    unfinished: BTreeSet<u64>,
    /// Of lines that have finished before an earlier one.
    kept: BTreeMap<u64, Vec<u8>>,
    kept_bytes: usize,
    ready: BytesMut,
    share: Share<Option<IpAddr>>,
    counted: u64,
}

impl Answers {
    pub(super) fn new(share: Share<Option<IpAddr>>) -> Self {
        let (unfinished, kept, ready) = (BTreeSet::new(), BTreeMap::new(), BytesMut::new());
        Self { unfinished, kept, kept_bytes: 0, ready, share, counted: RESERVED }
    }

    /// The line has its answer later.
    pub(super) fn begin(&mut self, line: u64) {
        self.unfinished.insert(line);
    }

    /// A line that has nothing to tell has no answer.
    pub(super) fn finish(&mut self, line: u64, answer: Option<impl Serialize>) {
        self.unfinished.remove(&line);
        let first = self.unfinished.first().copied().unwrap_or(u64::MAX);
        if let Some(answer) = answer {
            if line < first && self.kept.first_key_value().is_none_or(|(kept, _)| line < *kept) {
                write((&mut self.ready).writer(), &answer);
            } else {
                let mut bytes = Vec::new();
                write(&mut bytes, &answer);
                self.kept_bytes += bytes.len();
                self.kept.insert(line, bytes);
            }
        }
        while let Some(kept) = self.kept.first_entry().filter(|kept| *kept.key() < first) {
            let bytes = kept.remove();
            self.kept_bytes -= bytes.len();
            self.ready.extend_from_slice(&bytes);
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Whether more lines may be taken.
    pub(super) fn have_capacity(&self) -> bool {
        self.unsent() < CAPACITY
    }

    /// Takes more of the budget if the answers of lines in flight were long, as those with notices are. False if the client holds too
    /// much of it.
    pub(super) fn count(&mut self) -> bool {
        let more = (self.unsent() as u64).saturating_sub(self.counted);
        self.counted += more;
        more == 0 || self.share.grow(more)
    }

    fn unsent(&self) -> usize {
        self.ready.len() + self.kept_bytes
    }

    pub(super) fn are_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// What is to be sent next.
    pub(super) fn take_ready(&mut self) -> Bytes {
        let length = self.ready.len().min(PIECE);
        self.ready.split_to(length).freeze()
    }
}

fn write(mut bytes: impl io::Write, answer: &impl Serialize) {
    // Strings, numbers and lists are JSON, and a buffer takes whatever is written.
    let _ = serde_json::to_writer(&mut bytes, answer);
    let _ = bytes.write_all(b"\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fair_budget::FairBudget;

    #[test]
    fn long_ones_take_more_of_the_budget_while_there_is_some() {
        let budget = FairBudget::new(4 * RESERVED);
        let mut answers = Answers::new(budget.try_take(None, RESERVED).unwrap());
        let text = "x".repeat(CAPACITY);
        let mut counted = Vec::new();
        for line in 1..=5 {
            assert_eq!(answers.have_capacity(), line == 1);
            answers.begin(line);
            answers.finish(line, Some(&text));
            counted.push((answers.count(), budget.held() / CAPACITY as u64));
        }
        assert_eq!(counted, [(true, 2), (true, 2), (true, 3), (true, 4), (false, 4)]);
        let mut sent = 0;
        while answers.are_ready() {
            sent += answers.take_ready().len();
        }
        assert_eq!(sent, 5 * (CAPACITY + 3));
        drop(answers);
        assert_eq!(budget.held(), 0);
    }

    proptest! {
        /// Whatever order lines finish in, and whichever of them have an answer, each answer is ready once all lines before it
        /// have finished, in the order of the lines.
        #[test]
        fn are_in_the_order_of_the_lines(
            order in Just((1..=40_u64).collect::<Vec<_>>()).prop_shuffle(),
            has_answer in proptest::collection::vec(any::<bool>(), 41),
        ) {
            let budget = FairBudget::new(4 * RESERVED);
            let mut answers = Answers::new(budget.try_take(None, RESERVED).unwrap());
            let mut finished = BTreeSet::new();
            let mut sent = String::new();
            for line in 1..=40 {
                answers.begin(line);
            }
            for line in order {
                let told = |line: u64| has_answer[usize::try_from(line).unwrap()];
                answers.finish(line, told(line).then_some(line));
                finished.insert(line);
                sent += std::str::from_utf8(&answers.take_ready()).unwrap();
                let all_before = (1..=40).take_while(|line| finished.contains(line));
                let expected: String = all_before.filter(|line| told(*line)).map(|line| format!("{line}\n")).collect();
                prop_assert_eq!(&sent, &expected);
            }
            prop_assert!(answers.is_finished() && answers.kept_bytes == 0);
        }
    }
}
