//! Hears of keys that have changed, sooner than the next round would find out.
//!
//! Nothing depends on it: behind a pooler that drops LISTEN, or on a connection that died unnoticed, it hears nothing.

use std::convert::Infallible;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

use crate::db::api_key::CHANGES;

/// Between two attempts to connect.
const RECONNECT: Duration = Duration::from_secs(5);

/// Tells the id of each key that has changed, for ever.
pub(super) async fn run(options: PgConnectOptions, changed: impl Fn(i64)) {
    loop {
        let Err(error) = listen(&options, &changed).await;
        tracing::debug!(%error, "no news of keys for a while");
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn listen(options: &PgConnectOptions, changed: impl Fn(i64)) -> sqlx::Result<Infallible> {
    // A listener takes its connection from a pool; of this one it is the only user.
    let pool = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let mut listener = PgListener::connect_with(&pool.connect_lazy_with(options.clone())).await?;
    listener.listen(CHANGES).await?;
    loop {
        // What came while the connection was lost is lost too.
        if let Some(notification) = listener.try_recv().await?
            && let Ok(id) = notification.payload().parse()
        {
            changed(id);
        }
    }
}
