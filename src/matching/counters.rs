//! What the write path counts of itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Upper bounds of batch sizes: 1, 2, 4 and so on, up to the largest batch.
const BUCKETS: u16 = 9;

/// Clones count together.
#[derive(Clone)]
pub struct Counters {
    /// Matches that were written by one statement and one commit.
    pub batch_sizes: Histogram,
    /// Batches that were written again, once for each time.
    pub retries: Counter,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            batch_sizes: Histogram::new(exponential_buckets(1.0, 2.0, BUCKETS)),
            retries: Counter::default(),
        }
    }
}
