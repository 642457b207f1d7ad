//! Every call has an answer that the contract allows, in time.

use std::time::Duration;

use super::{Checker, READ_DEADLINE, TOLERANCE, Verdict, ViolationKind, WRITE_DEADLINE, nanoseconds};
use crate::call::{Answer, Call};

impl Checker<'_> {
    pub(super) fn answers(&self, verdict: &mut Verdict) {
        for call in &self.run.calls {
            self.answer(call, verdict);
            let deadline = if call.request.is_write() { WRITE_DEADLINE } else { READ_DEADLINE };
            let took = call.end - call.start;
            // A lost connection is no answer; a client that gave up waited longer than any deadline.
            if took > nanoseconds(deadline + TOLERANCE)
                && !matches!(call.answer, Answer::Lost | Answer::NotSent)
            {
                let took = Duration::from_nanos(took).as_secs_f64();
                let deadline = deadline.as_secs_f64();
                let text =
                    format!("Answered after {took:.1} s, {deadline:.1} s are promised:\n{}", self.line(call));
                verdict.add(ViolationKind::Late, call.start, text);
            }
        }
    }

    fn answer(&self, call: &Call, verdict: &mut Verdict) {
        let quiesced = call.start >= self.run.quiesced;
        let wrong = match call.answer {
            Answer::Unexpected(_) => "The contract does not allow this answer:",
            Answer::Unavailable | Answer::Lost | Answer::NotSent if !self.conditions.faults || quiesced => {
                "Not served, although there was no fault:"
            }
            _ => return,
        };
        verdict.add(ViolationKind::Answer, call.start, format!("{wrong}\n{}", self.line(call)));
    }
}
