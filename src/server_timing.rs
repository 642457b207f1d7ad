//! Where the time of one request goes, for the header `Server-Timing`. Recorded only while that setting is on.
//!
//! The steps of a request are its task's own, so what takes the time needs no handle of the request. A write's are recorded by its
//! writer, which gets a clone with the write.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

tokio::task_local! {
    static OF_REQUEST: Steps;
}

/// Clones record together.
#[derive(Clone, Default)]
pub(crate) struct Steps(Arc<Mutex<Vec<(&'static str, Duration)>>>);

impl Steps {
    /// Those of the request that this task serves. `None`: they are not recorded.
    pub(crate) fn of_request() -> Option<Self> {
        OF_REQUEST.try_with(Clone::clone).ok()
    }

    /// Serves a request whose steps are these.
    pub(crate) async fn scope<T>(&self, serve: impl Future<Output = T>) -> T {
        OF_REQUEST.scope(self.clone(), serve).await
    }

    /// Adds to a step, which may be done several times.
    pub(crate) fn record(&self, step: &'static str, took: Duration) {
        let mut steps = self.lock();
        match steps.iter_mut().find(|(name, _)| *name == step) {
            Some((_, sum)) => *sum += took,
            None => steps.push((step, took)),
        }
    }

    /// The header's value, with milliseconds to the microsecond.
    pub(crate) fn to_header(&self, total: Duration) -> String {
        let mut header = String::new();
        for (step, took) in self.lock().iter().chain([&("total", total)]) {
            let separator = if header.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(header, "{separator}{step};dur={:.3}", took.as_secs_f64() * 1000.0);
        }
        header
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(&'static str, Duration)>> {
        // Nothing panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn steps_of_a_request_are_its_own() {
        assert!(Steps::of_request().is_none());
        let steps = Steps::default();
        steps
            .scope(async {
                let of_request = Steps::of_request().unwrap();
                for (step, took) in [("pool", 1500), ("read", 20), ("pool", 500)] {
                    of_request.record(step, Duration::from_micros(took));
                }
            })
            .await;
        let header = steps.to_header(Duration::from_millis(3));
        assert_eq!(header, "pool;dur=2.000, read;dur=0.020, total;dur=3.000");
    }
}
