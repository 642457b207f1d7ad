//! The task that refreshes all keys in use: their states, their quota leases and their recorded last use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::CachedKey;
use super::connection::TaskConnection;
use super::quota_exchange::QuotaExchange;
use crate::db::{self, api_key};

/// Client-side timeout of the query for the states, as a broken network may never deliver an error.
const STATES_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of what follows the states, so that it cannot delay the next refresh.
const FOLLOW_UP_TIMEOUT: Duration = Duration::from_millis(300);

/// The result of the last refresh.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    /// The states could not be read. Requests stop waiting: the next attempt is likely to fail as well.
    pub(super) failed: bool,
}

pub(super) struct Refresher {
    connection: TaskConnection,
    interval: Duration,
    refresh_now: Arc<Notify>,
    refreshed: watch::Sender<Refresh>,
    /// Keys that were used within the current window, by id.
    keys: HashMap<i64, Arc<CachedKey>>,
    quotas: QuotaExchange,
}

impl Refresher {
    pub(super) fn new(
        connection: TaskConnection,
        interval: Duration,
        refresh_now: Arc<Notify>,
        refreshed: watch::Sender<Refresh>,
    ) -> Self {
        let (keys, quotas) = (HashMap::new(), QuotaExchange::new());
        Self { connection, interval, refresh_now, refreshed, keys, quotas }
    }

    /// Runs until `closing` is cancelled or the cache, which holds the sender of `activated`, is dropped. Deregisters this
    /// server at the end, unless the cache was dropped.
    pub(super) async fn run(
        mut self,
        activated: mpsc::UnboundedReceiver<Arc<CachedKey>>,
        closing: CancellationToken,
    ) {
        tokio::select! {
            () = self.refresh_repeatedly(activated) => return,
            () = closing.cancelled_owned() => {}
        }
        if self.quotas.is_registered() {
            let result = timeout(STATES_TIMEOUT, self.deregister()).await;
            tracing::debug!(?result, "released the unused quotas");
        }
    }

    async fn refresh_repeatedly(&mut self, mut activated: mpsc::UnboundedReceiver<Arc<CachedKey>>) {
        let mut new_keys = Vec::new();
        // Without a key in use there is nothing to refresh: an idle server does not query.
        while !self.keys.is_empty() || activated.recv_many(&mut new_keys, usize::MAX).await > 0 {
            // While the database is unavailable, waiting requests do not shorten the interval: that would add load.
            let failed_before = self.refreshed.borrow().failed;
            tokio::select! {
                () = sleep(self.interval) => {}
                () = self.refresh_now.notified(), if !failed_before => {}
            }
            if activated.is_closed() {
                return;
            }
            new_keys.extend(std::iter::from_fn(|| activated.try_recv().ok()));
            self.keys.extend(new_keys.drain(..).map(|key| (key.id, key)));
            let result = self.read_states().await;
            let failed = result.is_err();
            match result {
                Err(error) => {
                    if !failed_before {
                        tracing::warn!(%error, "cannot refresh API keys; serving cached states");
                    }
                }
                Ok(()) => {
                    if failed_before {
                        tracing::info!("API keys are refreshed again");
                    }
                    self.exchange_quotas().await;
                }
            }
            self.refreshed.send_replace(Refresh { failed });
            // After the reply to the waiting requests, as none of them needs it.
            if !failed {
                self.record_last_used().await;
            }
        }
    }

    async fn read_states(&mut self) -> sqlx::Result<()> {
        let as_of = Instant::now();
        let quotas = &mut self.quotas;
        self.keys.retain(|_, key| {
            let idle = key.deactivate_if_idle(as_of);
            if idle {
                quotas.release(key);
            }
            !idle
        });
        let ids: Vec<_> = self.keys.keys().copied().collect();
        let find = async |db: &mut _| api_key::find_many(db, &ids).await;
        let mut states = self.connection.run(STATES_TIMEOUT, find).await?;
        self.keys.retain(|id, key| {
            let state = states.remove(id);
            let exists = state.is_some();
            key.update(state, as_of);
            exists
        });
        Ok(())
    }

    /// Where leases cannot be exchanged, as on a read-only database, each server enforces the whole limit by itself. A lock
    /// timeout only means that the exchange is busy: the current quotas stay.
    async fn exchange_quotas(&mut self) {
        let Self { connection, quotas, keys, .. } = self;
        // The connection is kept after an error, which recurs four times a second on a read-only database.
        let exchange = async |db: &mut _| Ok(quotas.exchange(db, keys).await);
        if let Err(error) = connection.run(FOLLOW_UP_TIMEOUT, exchange).await.flatten() {
            tracing::debug!(%error, "cannot exchange quota leases");
            if error.as_database_error().is_some() && !db::is_lock_timeout(&error) {
                keys.values().for_each(|key| key.assume_sole_server());
            }
        }
    }

    /// A failure, as on a read-only database, is tried again after a minute.
    async fn record_last_used(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.keys.values().filter(|key| key.should_record_use(now)).collect();
        if due.is_empty() {
            return;
        }
        let uses: Vec<_> = due.iter().map(|key| (key.id, key.last_client_ip())).collect();
        let record = async |db: &mut _| api_key::record_last_used(db, &uses).await;
        match self.connection.run(FOLLOW_UP_TIMEOUT, record).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::debug!(%error, "cannot record the last use of API keys"),
        }
        due.iter().for_each(|key| key.use_recorded(now));
    }

    async fn deregister(&self) -> sqlx::Result<()> {
        let deregister = async |db: &mut _| self.quotas.deregister(db, &self.keys).await;
        self.connection.run(STATES_TIMEOUT, deregister).await
    }
}
