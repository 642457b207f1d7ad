//! Listens for the notifications that announce changes of keys, so that a change takes effect in milliseconds.
//!
//! An optimisation only: behind a pooler that drops LISTEN, or on a connection that died unnoticed, no notification
//! arrives, and the refresher sees the change within its interval.

use std::convert::Infallible;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

use crate::db::api_key::CHANGE_CHANNEL;

const RECONNECT_DELAY: Duration = Duration::from_secs(5);

/// Calls `on_change` with the id of each key that has changed. Never returns.
pub(super) async fn run(options: PgConnectOptions, on_change: impl Fn(i64)) {
    loop {
        let Err(error) = listen(&options, &on_change).await;
        tracing::debug!(%error, "LISTEN connection lost");
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}

async fn listen(options: &PgConnectOptions, on_change: impl Fn(i64)) -> sqlx::Result<Infallible> {
    let options = options.clone().application_name("customer-match listener");
    // PgListener needs a pool. This one has a single connection, which it keeps.
    let pool = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let mut listener = PgListener::connect_with(&pool.connect_lazy_with(options)).await?;
    listener.listen(CHANGE_CHANNEL).await?;
    loop {
        // `None` says that the connection was lost and opened again. What was sent in between is lost as well.
        if let Some(notification) = listener.try_recv().await?
            && let Ok(id) = notification.payload().parse()
        {
            on_change(id);
        }
    }
}
