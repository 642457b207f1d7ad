//! Refresher: the task that brings the keys in use up to date.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::CachedKey;
use super::quota_exchange::QuotaExchange;
use crate::db::api_key;

/// Reading the states of keys takes no longer, or it has failed: on a database that swallows what it is sent, too.
const STATES_TIMEOUT: Duration = Duration::from_secs(1);
/// What comes after the states has this time, so that it does not keep the next round waiting.
const OTHERS_TIMEOUT: Duration = Duration::from_millis(300);

/// How the last round went.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// It failed: there is no point in waiting for the next.
    pub(super) away: bool,
}

/// Works on a connection of its own, so that a revocation arrives however busy the pool is.
pub(super) struct Refresher {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    pause: Duration,
    hurry: Arc<Notify>,
    done: watch::Sender<Round>,
    /// In use within the last minute.
    keys: HashMap<i64, Arc<CachedKey>>,
    leases: QuotaExchange,
}

impl Refresher {
    pub(super) fn new(
        options: PgConnectOptions,
        pause: Duration,
        hurry: Arc<Notify>,
        done: watch::Sender<Round>,
    ) -> Self {
        let (keys, leases) = (HashMap::new(), QuotaExchange::new());
        Self { options, connection: None, pause, hurry, done, keys, leases }
    }

    /// Until the registry is closed or gone.
    pub(super) async fn run(
        mut self,
        joining: mpsc::UnboundedReceiver<Arc<CachedKey>>,
        closing: CancellationToken,
    ) {
        tokio::select! {
            () = self.keep_up(joining) => return,
            () = closing.cancelled_owned() => {}
        }
        if self.leases.has_appeared() {
            // The connection may be in the middle of anything.
            self.connection = None;
            let left = timeout(STATES_TIMEOUT, self.leave()).await;
            tracing::debug!(?left, "left what was not used to other servers");
        }
    }

    async fn keep_up(&mut self, mut joining: mpsc::UnboundedReceiver<Arc<CachedKey>>) {
        let mut joined = Vec::new();
        while !self.keys.is_empty() || joining.recv_many(&mut joined, usize::MAX).await > 0 {
            // Those who hurry while the database is away would only ask it more often.
            let away = self.done.borrow().away;
            tokio::select! {
                () = sleep(self.pause) => {}
                () = self.hurry.notified(), if !away => {}
            }
            if joining.is_closed() {
                return;
            }
            joined.extend(std::iter::from_fn(|| joining.try_recv().ok()));
            self.keys.extend(joined.drain(..).map(|key| (key.id, key)));
            let result = timeout(STATES_TIMEOUT, self.read_states()).await;
            let result = result.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
            if let Err(error) = &result {
                self.connection = None;
                if !away {
                    tracing::warn!(%error, "the states of keys cannot be read; they stay as they are for a while");
                }
            } else {
                if away {
                    tracing::info!("the states of keys are read again");
                }
                self.exchange_quotas().await;
            }
            self.done.send_replace(Round { away: result.is_err() });
            if result.is_ok() && timeout(OTHERS_TIMEOUT, self.record_last_used()).await.is_err() {
                self.connection = None;
            }
        }
    }

    async fn connection(&mut self) -> sqlx::Result<&mut PgConnection> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(PgConnection::connect_with(&self.options).await?)),
        }
    }

    async fn read_states(&mut self) -> sqlx::Result<()> {
        let as_of = Instant::now();
        let leases = &mut self.leases;
        self.keys.retain(|_, key| {
            let leaves = key.leave_when_idle(as_of);
            if leaves {
                leases.release(key);
            }
            !leaves
        });
        let ids: Vec<_> = self.keys.keys().copied().collect();
        let mut states = api_key::find_many(self.connection().await?, &ids).await?;
        self.keys.retain(|id, key| {
            let state = states.remove(id);
            let exists = state.is_some();
            key.update(state, as_of);
            exists
        });
        Ok(())
    }

    /// A database where this cannot be done, one that is read-only, leaves each server to count alone.
    async fn exchange_quotas(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        match timeout(OTHERS_TIMEOUT, self.leases.exchange(connection, &self.keys)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "no leases of limits are exchanged");
                let is_busy =
                    error.as_database_error().is_some_and(|error| error.code() == Some("55P03".into()));
                if !is_busy {
                    self.keys.values().for_each(|key| key.count_alone());
                }
            }
            Err(_) => self.connection = None,
        }
    }

    /// Once a minute is enough, and nobody suffers when it cannot be done, as on a database that is read-only.
    async fn record_last_used(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.keys.values().filter(|key| key.note_is_due(now)).collect();
        let Some(connection) = self.connection.as_mut().filter(|_| !due.is_empty()) else { return };
        let ids: Vec<_> = due.iter().map(|key| key.id).collect();
        match api_key::record_last_used(connection, &ids).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::debug!(%error, "the use of keys is not noted"),
        }
        due.iter().for_each(|key| key.noted(now));
    }

    async fn leave(&mut self) -> sqlx::Result<()> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        self.leases.leave(&mut connection, &self.keys).await
    }
}
