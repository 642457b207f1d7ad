//! A lock delays only the calls that it concerns.

use std::ops::Range;
use std::time::Duration;

use super::{Checker, Verdict, ViolationKind};
use crate::call::{Answer, Call, Request};
use crate::locks::Lock;
use crate::model::Time;

/// The median beside locks is at most so many times the quiet one,
const MAX_RATIO: f64 = 2.0;
/// and so many milliseconds, which are the scheduler's.
const TOLERANCE: f64 = 5.0;
/// The same of the median by time, which a single stall of the machine moves.
const MAX_RATIO_BY_TIME: f64 = 3.0;
const TOLERANCE_BY_TIME: f64 = 20.0;
/// Fewer calls have no median worth comparing.
const MIN_CALLS: usize = 20;

/// How long matches and unmatches take, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    /// Half of the calls take longer.
    pub median: f64,
    /// Half of the time of the clients is spent in calls that take longer. A client that waits makes no calls, so that a stall of
    /// all clients does not show in the median of the calls.
    pub by_time: f64,
}

/// Of the clients that wander.
#[derive(Debug, Clone, Copy, Default)]
pub struct Latencies {
    /// While no lock was held.
    pub quiet: Option<Latency>,
    /// Of calls that no lock concerned, while one was held.
    pub beside_locks: Option<Latency>,
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
        verdict.latencies = Latencies { quiet: latency(quiet), beside_locks: latency(beside) };
        let Latencies { quiet: Some(quiet), beside_locks: Some(beside) } = verdict.latencies else { return };
        if beside.median > MAX_RATIO * quiet.median + TOLERANCE
            || beside.by_time > MAX_RATIO_BY_TIME * quiet.by_time + TOLERANCE_BY_TIME
        {
            let text = format!(
                "While rows of others were locked, half of the matches and unmatches took longer than {:.1} ms instead of {:.1} ms, and half of the clients' time passed in calls that took longer than {:.0} ms instead of {:.0} ms.",
                beside.median, quiet.median, beside.by_time, quiet.by_time
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

fn latency(mut times: Vec<Time>) -> Option<Latency> {
    if times.len() < MIN_CALLS {
        return None;
    }
    times.sort_unstable();
    let half = times.iter().sum::<Time>() / 2;
    let mut passed = 0;
    let by_time = times.iter().find(|time| {
        passed += **time;
        passed >= half
    })?;
    let milliseconds = |time: Time| Duration::from_nanos(time).as_secs_f64() * 1e3;
    Some(Latency { median: milliseconds(times[times.len() / 2]), by_time: milliseconds(*by_time) })
}
