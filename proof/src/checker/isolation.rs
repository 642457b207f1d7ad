//! A lock delays only the calls that it concerns.

use std::ops::Range;
use std::time::Duration;

use super::{Checker, Verdict, ViolationKind};
use crate::call::{Answer, Call, Request};
use crate::locks::Lock;
use crate::model::Time;

/// The median beside locks is at most so many times the quiet one,
const MAX_RATIO: f64 = 2.0;
/// and this, which is what a scheduler adds.
const MEDIAN_TOLERANCE: Duration = Duration::from_millis(5);
/// Fewer calls have no median worth comparing.
const MIN_CALLS: usize = 20;

/// Of the time that matches and unmatches take, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Medians {
    /// While no lock was held.
    pub quiet: Option<f64>,
    /// Of calls that no lock concerned, while one was held.
    pub beside_locks: Option<f64>,
}

impl Checker<'_> {
    pub(super) fn isolation(&self, verdict: &mut Verdict) {
        let locks = self.run.world.locks.all();
        let (mut quiet, mut beside) = (Vec::new(), Vec::new());
        for call in &self.run.calls {
            let time = call.start..call.end;
            let within = |phase: &Range<Time>| phase.contains(&time.start) && time.end < phase.end;
            if !self.conditions.only_locks.iter().any(within) {
                continue;
            }
            let overlapping: Vec<&Lock> = locks.iter().filter(|lock| lock.overlaps(&time)).collect();
            if overlapping.iter().any(|lock| lock.concerns(&call.request)) {
                continue;
            }
            if !call.answer.is_served() {
                self.not_served(call, &overlapping, verdict);
            } else if self.is_sample(call) {
                let sample = if overlapping.is_empty() { &mut quiet } else { &mut beside };
                sample.push(call.end - call.start);
            }
        }
        verdict.medians = Medians { quiet: median(quiet), beside_locks: median(beside) };
        let Medians { quiet: Some(quiet), beside_locks: Some(beside) } = verdict.medians else { return };
        if beside > MAX_RATIO * quiet + MEDIAN_TOLERANCE.as_secs_f64() * 1e3 {
            let text = format!(
                "While rows of other pairs were locked, the median of matches and unmatches was {beside:.1} ms instead of {quiet:.1} ms."
            );
            let at = self.conditions.only_locks.last().map_or(0, |phase| phase.start);
            verdict.add(ViolationKind::NotIsolated, at, text);
        }
    }

    fn not_served(&self, call: &Call, locks: &[&Lock], verdict: &mut Verdict) {
        let reason = match (&call.answer, locks.is_empty()) {
            (Answer::TimedOut, _) => return,
            (_, true) => "Not served, although no row was locked and there was no fault:",
            (_, false) => "Not served, although only rows of others were locked:",
        };
        verdict.add(ViolationKind::NotIsolated, call.start, format!("{reason}\n{}", self.line(call)));
    }

    /// The clients that wander make the same calls whether a lock is held or not.
    fn is_sample(&self, call: &Call) -> bool {
        matches!(call.request, Request::Match { .. } | Request::Unmatch { .. })
            && self.run.wanderers.contains(&call.client)
    }
}

fn median(mut times: Vec<Time>) -> Option<f64> {
    if times.len() < MIN_CALLS {
        return None;
    }
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    Some(Duration::from_nanos(*median).as_secs_f64() * 1e3)
}
