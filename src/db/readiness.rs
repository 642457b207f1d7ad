//! Whether the database can be used: asked on a connection of its own, because a busy pool is no reason to send requests to
//! another server.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connect::{Plans, Session};
use super::connections::Connections;
use super::migration::Schema;

/// Shorter than a prober waits, so that it is told what is wrong.
const TIMEOUT: Duration = Duration::from_secs(2);

const SESSION: Session = Session {
    application_name: "customer-match readiness",
    statement_timeout: TIMEOUT,
    lock_timeout: TIMEOUT,
    plans: Plans::Auto,
};

pub struct Readiness {
    connections: Connections,
    schema: Schema,
    /// The last check and when it began.
    last: Mutex<Option<(Instant, Checked)>>,
}

type Checked = Result<DatabaseState, Arc<sqlx::Error>>;

/// A database that answers.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseState {
    pub schema_is_current: bool,
    pub role: ReplicationRole,
    /// It rejects writes: a standby, or a primary that is set so.
    pub is_read_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicationRole {
    Primary,
    /// It replays the changes of another server.
    Standby,
}

impl Readiness {
    pub fn new(options: PgConnectOptions) -> Arc<Self> {
        let connections = Connections::new(options, SESSION);
        Arc::new(Self { connections, schema: Schema::default(), last: Mutex::default() })
    }

    /// Makes at least one round trip, so an unavailable database is an error. One check at a time serves all calls that came before
    /// it, because anyone may ask.
    pub async fn state(self: &Arc<Self>) -> Checked {
        let asked = Instant::now();
        let readiness = Arc::clone(self);
        // A task, so that a client that leaves does not cost a connection.
        let check = tokio::spawn(async move { readiness.check(asked).await });
        check.await.unwrap_or_else(|_| Err(Arc::new(sqlx::Error::WorkerCrashed)))
    }

    async fn check(&self, asked: Instant) -> Checked {
        let mut last = self.last.lock().await;
        if let Some((_, result)) = last.as_ref().filter(|(began, _)| *began > asked) {
            return result.clone();
        }
        let began = Instant::now();
        let read = async |db: &mut PgConnection| self.read_state(db).await;
        let result = self.connections.with_connection(TIMEOUT, read).await.map_err(Arc::new);
        if result.as_ref().is_ok_and(|state| state.is_read_only) {
            // A session keeps the setting that it began with, so a later one may be writable.
            self.connections.close_idle();
        }
        *last = Some((began, result.clone()));
        result
    }

    async fn read_state(&self, db: &mut PgConnection) -> sqlx::Result<DatabaseState> {
        let schema_is_current = self.schema.is_current(db).await?;
        let state = sqlx::query!(
            r#"select
                   pg_is_in_recovery() as "is_standby!",
                   current_setting('transaction_read_only')::bool as "is_read_only!""#
        )
        .fetch_one(db)
        .await?;
        let role = if state.is_standby { ReplicationRole::Standby } else { ReplicationRole::Primary };
        Ok(DatabaseState { schema_is_current, role, is_read_only: state.is_read_only })
    }
}
