//! The answers of a stream, in the order of its lines: once one is sent, all lines before it have finished.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Bytes;
use serde::Serialize;

/// How many bytes of answers may be kept for a client that does not read. A stream takes no more lines until it does.
pub(super) const MAX_UNSENT: usize = 1024 * 1024;

#[derive(Default)]
pub(super) struct Answers {
    unfinished: BTreeSet<u64>,
    /// Of lines that have finished before an earlier one.
    kept: BTreeMap<u64, Vec<u8>>,
    kept_bytes: usize,
    ready: Vec<u8>,
}

impl Answers {
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
                write(&mut self.ready, &answer);
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
            self.ready.extend(bytes);
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Whether more lines may be taken. What else waits to be sent has half of the capacity.
    pub(super) fn have_capacity(&self) -> bool {
        self.ready.len() + self.kept_bytes < MAX_UNSENT / 2
    }

    pub(super) fn are_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// All that can be sent now.
    pub(super) fn take_ready(&mut self) -> Bytes {
        std::mem::take(&mut self.ready).into()
    }
}

fn write(bytes: &mut Vec<u8>, answer: &impl Serialize) {
    // Strings, numbers and lists are JSON, and a vector takes whatever is written.
    let _ = serde_json::to_writer(&mut *bytes, answer);
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever order lines finish in, and whichever of them have an answer, each answer is ready once all lines before it
        /// have finished, in the order of the lines.
        #[test]
        fn are_in_the_order_of_the_lines(
            order in Just((1..=40_u64).collect::<Vec<_>>()).prop_shuffle(),
            has_answer in proptest::collection::vec(any::<bool>(), 41),
        ) {
            let mut answers = Answers::default();
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
