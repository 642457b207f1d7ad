//! What a server does by the clock and not for a request, on a connection of its own that lasts as long as one run:
//!
//! - It reads which API keys expire, for the metric, and warns of those that do so soon, once a day.
//! - It deletes identities that have ended; requests see no difference.
//!
//! Each server on a database does it. A run that fails is left to the next one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{NaiveDate, Utc};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::db::api_key::{self, ExpiringKey};
use crate::db::connect::{self, Plans, Session};
use crate::db::{customer_identity, organisation};
use crate::domain::Timestamp;

/// How old the metric may be.
const INTERVAL: Duration = Duration::from_secs(600);
/// Client-side timeout of one run, as a broken network may never deliver an error.
const RUN_TIMEOUT: Duration = Duration::from_secs(300);

const SESSION: Session = Session {
    application_name: "customer-match maintenance",
    statement_timeout: Duration::from_secs(30),
    lock_timeout: Duration::from_secs(1),
    plans: Plans::Auto,
};

/// The handle of the task, which ends with it.
pub struct Maintenance {
    expiring: watch::Receiver<Arc<[ExpiringKey]>>,
    _task: AbortOnDropHandle<()>,
}

impl Maintenance {
    /// Starts with a run.
    pub fn start(options: PgConnectOptions) -> Self {
        let (sender, expiring) = watch::channel(Arc::default());
        let task = Task { options, expiring: sender, warned: HashMap::new() };
        Self { expiring, _task: AbortOnDropHandle::new(tokio::spawn(task.run())) }
    }

    /// The active keys that will expire, as of the last run.
    pub fn expiring_keys(&self) -> Arc<[ExpiringKey]> {
        self.expiring.borrow().clone()
    }
}

struct Task {
    options: PgConnectOptions,
    expiring: watch::Sender<Arc<[ExpiringKey]>>,
    /// The day of the last warning of each key, by its id.
    warned: HashMap<i64, NaiveDate>,
}

impl Task {
    async fn run(mut self) {
        loop {
            match timeout(RUN_TIMEOUT, self.run_once()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the maintenance failed"),
                Err(_) => tracing::warn!("the maintenance timed out"),
            }
            sleep(INTERVAL).await;
        }
    }

    async fn run_once(&mut self) -> sqlx::Result<()> {
        let mut connection = connect::connect(&self.options, SESSION).await?;
        self.read_expiring_keys(&mut connection).await?;
        for organisation in organisation::list(&mut connection).await? {
            customer_identity::delete_ended(&mut connection, organisation.id).await?;
        }
        connection.close().await
    }

    async fn read_expiring_keys(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let keys = api_key::list_expiring(connection).await?;
        let now = Utc::now();
        self.warned.retain(|id, _| keys.iter().any(|key| key.id == *id && key.is_ending(now)));
        for key in keys.iter().filter(|key| key.is_ending(now)) {
            let today = now.date_naive();
            if self.warned.insert(key.id, today) != Some(today) {
                tracing::warn!(
                    id = key.id,
                    organisation = key.organisation_id,
                    key = key.mask,
                    expires_at = %Timestamp::from(key.expires_at),
                    days_left = key.days_left(now).floor(),
                    "API key expires soon"
                );
            }
        }
        self.expiring.send_replace(keys.into());
        Ok(())
    }
}
