//! What the write path counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Upper bounds of batch sizes: 1, 2, 4 and so on, up to the largest batch.
const BUCKETS: u16 = 9;

/// Clones count together.
#[derive(Clone)]
pub struct Counters {
    /// Writes in one commit.
    pub batch_sizes: Histogram,
    /// Batches that were attempted again.
    pub retries: Counter,
    /// Batches that were written one write at a time, for a lock or an error of one of them.
    pub isolated: Counter,
    /// Attempts whose answer was lost.
    pub lost_answers: Counter,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            batch_sizes: Histogram::new(exponential_buckets(1.0, 2.0, BUCKETS)),
            retries: Counter::default(),
            isolated: Counter::default(),
            lost_answers: Counter::default(),
        }
    }
}
