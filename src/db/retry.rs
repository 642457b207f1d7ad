//! Retries of operators' writes after a lost race.

use std::fmt::Display;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};

use super::customer;
use super::error::{is_transient, violates};

const MAX_RETRIES: usize = 3;
/// The delay doubles with each retry.
const FIRST_DELAY: Duration = Duration::from_millis(20);

/// Retries an idempotent write with exponential backoff.
pub async fn retry<T, E: Display, F>(
    attempt: impl FnMut() -> F,
    is_retryable: impl Fn(&E) -> bool,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let backoff =
        ExponentialBuilder::new().with_min_delay(FIRST_DELAY).with_max_times(MAX_RETRIES).with_jitter();
    attempt
        .retry(backoff)
        .when(is_retryable)
        .notify(|error, _| tracing::warn!(%error, "retrying a write"))
        .await
}

/// Whether a retry of an idempotent write may succeed. A timeout of the pool has been waited for already. The random reference
/// of a new customer may be taken.
pub(crate) fn is_retryable(error: &sqlx::Error) -> bool {
    !matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
        && (is_transient(error) || violates(error, customer::CU_REF_NO_KEY))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use sqlx::Error::{PoolTimedOut, RowNotFound, WorkerCrashed};

    use super::*;

    /// Counts the attempts of a write whose first `failures` attempts fail; and whether it succeeded.
    async fn attempts(failures: u32, error: fn() -> sqlx::Error) -> (u32, bool) {
        let count = Cell::new(0);
        let attempt = async || {
            count.set(count.get() + 1);
            if count.get() > failures { Ok(()) } else { Err(error()) }
        };
        let result = retry(attempt, is_retryable).await;
        (count.get(), result.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn only_transient_errors_are_retried() {
        assert_eq!(attempts(0, || WorkerCrashed).await, (1, true));
        assert_eq!(attempts(3, || WorkerCrashed).await, (4, true));
        assert_eq!(attempts(9, || WorkerCrashed).await, (4, false));
        assert_eq!(attempts(9, || PoolTimedOut).await, (1, false));
        assert_eq!(attempts(9, || RowNotFound).await, (1, false));
    }
}
