//! What the write path counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Upper bounds of batch sizes: 1, 2, 4 and so on, up to the largest batch.
const BUCKETS: u16 = 9;
/// In seconds, from a write on an idle server to the longest attempt.
const DURATION_BUCKETS: [f64; 13] =
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

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
    /// From a write's submission to its first batch, or to the end of its time.
    pub queue_wait: Histogram,
    /// Of each batch that was answered, by the database's clock.
    pub statement: Histogram,
    /// The rest of its round trip: the commit and its flush, and the network.
    pub commit: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            batch_sizes: Histogram::new(exponential_buckets(1.0, 2.0, BUCKETS)),
            retries: Counter::default(),
            isolated: Counter::default(),
            lost_answers: Counter::default(),
            queue_wait: Histogram::new(DURATION_BUCKETS),
            statement: Histogram::new(DURATION_BUCKETS),
            commit: Histogram::new(DURATION_BUCKETS),
        }
    }
}
