//! The connection of a background task: its own, so that no busy pool delays it, or one of the requests' pool while its own cannot
//! be had, as when another program has taken the last ones of Postgres.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::time::timeout;

use crate::db::connect::{Plans, Session};
use crate::db::{self, Connections, RequestPool};

/// How long a task tries to get its own connection. Twice as long would leave no time to read the states of keys within their
/// promised second.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(500);

const SESSION: Session = Session {
    application_name: "customer-match keys",
    // Longer than this server waits for a statement.
    statement_timeout: Duration::from_secs(2),
    lock_timeout: Duration::from_secs(2),
    plans: Plans::Auto,
};

pub(super) struct TaskConnection {
    own: Connections,
    pool: Arc<RequestPool>,
}

impl TaskConnection {
    pub(super) fn new(options: PgConnectOptions, pool: Arc<RequestPool>) -> Self {
        Self { own: Connections::new(options, SESSION), pool }
    }

    /// Runs `work` for at most this time.
    pub(super) async fn run<T>(
        &self,
        longest: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        match timeout(ACQUIRE_TIMEOUT, self.own.acquire()).await {
            Ok(Ok(connection)) => self.own.run(connection, longest, work).await,
            _ => db::bounded(longest, self.pool.with_connection(RequestPool::SERVER, work)).await,
        }
    }
}
