//! Log lines about events that may happen thousands of times a second.

use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(10);

/// Lets the first event be logged at once, and then one in each [`INTERVAL`].
#[derive(Default)]
pub(super) struct LogThrottle {
    logged_at: Option<Instant>,
    unlogged: u64,
}

impl LogThrottle {
    /// Counts an event. If it is to be logged: the number of events since the last one that was, this one included.
    pub(super) fn record(&mut self, now: Instant) -> Option<u64> {
        self.unlogged += 1;
        if self.logged_at.is_some_and(|at| now.saturating_duration_since(at) < INTERVAL) {
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_the_first_event_and_one_in_each_interval() {
        let mut throttle = LogThrottle::default();
        let start = Instant::now();
        let logged: Vec<_> = (0..300).map(|event| throttle.record(start + INTERVAL * event / 100)).collect();
        assert_eq!(logged.iter().flatten().collect::<Vec<_>>(), [&1, &100, &100]);
        assert_eq!(logged[100], Some(100));
    }
}
