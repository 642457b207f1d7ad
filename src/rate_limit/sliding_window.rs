//! A sliding window: the times of the admitted calls, for as long as they count.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Decision;

/// How long a call counts.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// Calls within this time are counted as one slice with the time of its last call. So a window has at most a thousand
/// slices, however high the limit, and a call counts for up to this much longer than a window, never for less.
const SLICE: Duration = Duration::from_millis(60);

#[derive(Debug, Default)]
pub(crate) struct SlidingWindow {
    /// Oldest first.
    slices: VecDeque<Slice>,
    calls: u32,
}

#[derive(Debug)]
struct Slice {
    first: Instant,
    last: Instant,
    calls: u32,
}

impl SlidingWindow {
    /// Admits and counts a call unless `limit` calls count already. `now` may go backwards between calls by at most a slice.
    pub(crate) fn admit(&mut self, limit: u32, now: Instant) -> Decision {
        self.drop_expired(now);
        let admitted = self.calls < limit;
        if admitted {
            self.count(now);
        }
        let remaining = limit.saturating_sub(self.calls);
        Decision { limit, remaining, reset: self.time_until_free(remaining + 1, limit, now), admitted }
    }

    /// The calls that count now.
    pub(crate) fn calls(&mut self, now: Instant) -> u32 {
        self.drop_expired(now);
        self.calls
    }

    fn drop_expired(&mut self, now: Instant) {
        while let Some(oldest) = self.slices.front().filter(|oldest| oldest.last + WINDOW <= now) {
            self.calls -= oldest.calls;
            self.slices.pop_front();
        }
    }

    fn count(&mut self, now: Instant) {
        self.calls += 1;
        match self.slices.back_mut() {
            Some(latest) if now.saturating_duration_since(latest.first) < SLICE => {
                latest.last = latest.last.max(now);
                latest.calls += 1;
            }
            _ => self.slices.push_back(Slice { first: now, last: now, calls: 1 }),
        }
    }

    /// The time until `wanted` calls would be admitted, if none is admitted before.
    fn time_until_free(&self, wanted: u32, limit: u32, now: Instant) -> Duration {
        let mut calls = self.calls;
        for slice in &self.slices {
            calls -= slice.calls;
            if calls.saturating_add(wanted) <= limit {
                return (slice.last + WINDOW).saturating_duration_since(now);
            }
        }
        WINDOW
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Pauses between calls, in microseconds: bursts, a stream, and pauses longer than the window.
    fn schedule() -> impl Strategy<Value = Vec<u64>> {
        let pause = prop_oneof![
            4 => 0..100_u64,
            4 => 0..200_000_u64,
            2 => 0..5_000_000_u64,
            1 => 0..130_000_000_u64,
        ];
        vec(pause, 1..400)
    }

    /// Rounded up as in the header `Retry-After`.
    fn whole_seconds(time: Duration) -> Duration {
        Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
    }

    /// Calls of the model within the `time` that ends at `now`.
    fn within(admitted: &[Instant], now: Instant, time: Duration) -> usize {
        admitted.iter().filter(|at| now.saturating_duration_since(**at) < time).count()
    }

    proptest! {
        /// Against a model that stores the time of every call: no minute has more calls than the limit, a call is rejected
        /// only if a minute and a slice have as many, and a client that waits as told is admitted.
        #[test]
        fn is_exact(limit in 1..40_u32, pauses in schedule(), waits in any::<bool>()) {
            let mut window = SlidingWindow::default();
            let mut admitted: Vec<Instant> = Vec::new();
            let mut now = Instant::now();
            let mut retry_after = None;
            for pause in pauses {
                let waited = retry_after.take().filter(|_| waits);
                now += waited.unwrap_or(Duration::from_micros(pause));
                let decision = window.admit(limit, now);
                prop_assert!(waited.is_none() || decision.admitted, "rejected after waiting as told");
                if decision.admitted {
                    admitted.push(now);
                    prop_assert!(within(&admitted, now, WINDOW) <= limit as usize);
                } else {
                    prop_assert!(within(&admitted, now, WINDOW + SLICE) >= limit as usize);
                    prop_assert_eq!(decision.remaining, 0);
                    retry_after = Some(whole_seconds(decision.reset));
                }
                prop_assert_eq!(decision.remaining, limit - window.calls(now));
                prop_assert!(decision.reset > Duration::ZERO && decision.reset <= WINDOW);
                prop_assert!(window.slices.len() <= WINDOW.div_duration_f64(SLICE) as usize + 1);
            }
        }

        /// Also after a limit was lowered, a client that waits as told is admitted.
        #[test]
        fn a_lowered_limit_is_told_exactly(before in 1..40_u32, after in 1..40_u32, pauses in schedule()) {
            let mut window = SlidingWindow::default();
            let mut now = Instant::now();
            for pause in pauses {
                now += Duration::from_micros(pause);
                window.admit(before, now);
            }
            let decision = window.admit(after, now);
            if !decision.admitted {
                let early = window.admit(after, now + decision.reset - Duration::from_nanos(1));
                prop_assert!(!early.admitted, "told to wait too long");
                prop_assert!(window.admit(after, now + decision.reset).admitted);
            }
        }
    }

    #[test]
    fn many_calls_take_bounded_memory() {
        let mut window = SlidingWindow::default();
        let start = Instant::now();
        for call in 0..200_000 {
            assert!(window.admit(u32::MAX, start + Duration::from_micros(299 * call)).admitted);
        }
        assert!(window.slices.len() <= 1001, "{}", window.slices.len());
    }
}
