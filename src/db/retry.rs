//! Writing again after a lost race.

use std::time::Duration;

use super::{customer, is_transient, violates};

/// Attempts before the caller is told to come back.
const ATTEMPTS: u32 = 4;
/// The longest pause before the second attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Why a write of an operator was not done.
pub trait Failure {
    /// The database's error, if another attempt may be made after it.
    fn database(&self) -> Option<&sqlx::Error>;
}

impl Failure for sqlx::Error {
    fn database(&self) -> Option<&sqlx::Error> {
        Some(self)
    }
}

/// Repeats an idempotent write while the database loses a race or a connection over it.
pub async fn retry<T, E: Failure, F>(attempt: impl Fn() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        let result = attempt().await;
        let lost = result.as_ref().err().and_then(Failure::database).filter(|error| is_worth_another(error));
        let Some(error) = lost else { return result };
        tracing::warn!(%error, "a write is tried again");
        tokio::time::sleep(pause.mul_f64(rand::random())).await;
        pause *= 2;
    }
    attempt().await
}

/// Whether an idempotent write may succeed a moment later. A pool that has no connection to give has been waited for
/// already. A new customer's random reference may be taken.
pub(crate) fn is_worth_another(error: &sqlx::Error) -> bool {
    !matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
        && (is_transient(error) || violates(error, customer::CU_REF_NO_KEY))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use sqlx::Error::{PoolTimedOut, RowNotFound, WorkerCrashed};

    use super::*;

    /// How often a write is attempted that fails in this way this many times.
    async fn attempts(failures: u32, error: fn() -> sqlx::Error) -> (u32, bool) {
        let count = Cell::new(0);
        let result = retry(async || {
            count.set(count.get() + 1);
            if count.get() > failures { Ok(()) } else { Err(error()) }
        })
        .await;
        (count.get(), result.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_lost_race_is_worth_another_attempt() {
        assert_eq!(attempts(0, || WorkerCrashed).await, (1, true));
        assert_eq!(attempts(3, || WorkerCrashed).await, (4, true));
        assert_eq!(attempts(9, || WorkerCrashed).await, (4, false));
        assert_eq!(attempts(9, || PoolTimedOut).await, (1, false));
        assert_eq!(attempts(9, || RowNotFound).await, (1, false));
    }
}
