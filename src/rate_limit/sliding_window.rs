//! A sliding window: the times of the calls that were let in, as long as they count.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Decision;

/// How long a call counts.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Calls within this time are remembered together, all as late as the last of them: so a window is a thousand counters
/// at most, however high the limit, and a call counts at most this much longer than it should, never shorter.
const SLICE: Duration = Duration::from_millis(60);

/// The calls of the last [`WINDOW`], oldest first.
#[derive(Debug, Default)]
pub struct SlidingWindow {
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
    /// Lets a call in unless `limit` calls count already. Time must not go backwards between calls by more than a slice.
    pub fn admit(&mut self, limit: u32, now: Instant) -> Decision {
        self.forget(now);
        let admitted = self.calls < limit;
        if admitted {
            self.remember(now);
        }
        let remaining = limit.saturating_sub(self.calls);
        Decision { limit, remaining, reset: self.until_room_for(remaining + 1, limit, now), admitted }
    }

    /// Calls that count now.
    pub fn calls(&mut self, now: Instant) -> u32 {
        self.forget(now);
        self.calls
    }

    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.slices.front().filter(|oldest| oldest.last + WINDOW <= now) {
            self.calls -= oldest.calls;
            self.slices.pop_front();
        }
    }

    fn remember(&mut self, now: Instant) {
        self.calls += 1;
        match self.slices.back_mut() {
            Some(latest) if now.saturating_duration_since(latest.first) < SLICE => {
                latest.last = latest.last.max(now);
                latest.calls += 1;
            }
            _ => self.slices.push_back(Slice { first: now, last: now, calls: 1 }),
        }
    }

    /// How long until this many calls would be let in, if none is before.
    fn until_room_for(&self, wanted: u32, limit: u32, now: Instant) -> Duration {
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

    /// Pauses between calls, in microseconds: bursts, a stream, and silences longer than the window.
    fn schedule() -> impl Strategy<Value = Vec<u64>> {
        let pause = prop_oneof![
            4 => 0..100_u64,
            4 => 0..200_000_u64,
            2 => 0..5_000_000_u64,
            1 => 0..130_000_000_u64,
        ];
        vec(pause, 1..400)
    }

    /// The seconds that a client is told to wait, as it is told.
    fn whole_seconds(time: Duration) -> Duration {
        Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
    }

    /// Calls of the model within the `time` that ends at `now`.
    fn within(admitted: &[Instant], now: Instant, time: Duration) -> usize {
        admitted.iter().filter(|at| now.saturating_duration_since(**at) < time).count()
    }

    proptest! {
        /// Against a model that remembers every call: never more than the limit within any minute, never a refusal while
        /// there were fewer within a minute and a slice, and waiting as told lets the next call in.
        #[test]
        fn is_exact(limit in 1..40_u32, pauses in schedule(), patient in any::<bool>()) {
            let mut window = SlidingWindow::default();
            let mut admitted: Vec<Instant> = Vec::new();
            let mut now = Instant::now();
            let mut told_to_wait = None;
            for pause in pauses {
                let waited = told_to_wait.take().filter(|_| patient);
                now += waited.unwrap_or(Duration::from_micros(pause));
                let allowance = window.admit(limit, now);
                prop_assert!(waited.is_none() || allowance.admitted, "waited as told, and refused");
                if allowance.admitted {
                    admitted.push(now);
                    prop_assert!(within(&admitted, now, WINDOW) <= limit as usize);
                } else {
                    prop_assert!(within(&admitted, now, WINDOW + SLICE) >= limit as usize);
                    prop_assert_eq!(allowance.remaining, 0);
                    told_to_wait = Some(whole_seconds(allowance.reset));
                }
                prop_assert_eq!(allowance.remaining, limit - window.calls(now));
                prop_assert!(allowance.reset > Duration::ZERO && allowance.reset <= WINDOW);
                prop_assert!(window.slices.len() <= WINDOW.div_duration_f64(SLICE) as usize + 1);
            }
        }

        /// After a limit was lowered, and whatever time has passed, waiting as told lets the next call in.
        #[test]
        fn a_lowered_limit_is_waited_for(before in 1..40_u32, after in 1..40_u32, pauses in schedule()) {
            let mut window = SlidingWindow::default();
            let mut now = Instant::now();
            for pause in pauses {
                now += Duration::from_micros(pause);
                window.admit(before, now);
            }
            let allowance = window.admit(after, now);
            if !allowance.admitted {
                let early = window.admit(after, now + allowance.reset - Duration::from_nanos(1));
                prop_assert!(!early.admitted, "it was told to wait too long");
                prop_assert!(window.admit(after, now + allowance.reset).admitted);
            }
        }
    }

    #[test]
    fn a_flood_takes_little_memory() {
        let mut window = SlidingWindow::default();
        let start = Instant::now();
        for call in 0..200_000 {
            assert!(window.admit(u32::MAX, start + Duration::from_micros(299 * call)).admitted);
        }
        assert!(window.slices.len() <= 1001, "{}", window.slices.len());
    }
}
