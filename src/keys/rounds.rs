//! Rounds: the task that brings the keys in use up to date.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::Key;
use crate::db::api_key;

/// A round that takes longer has failed, a database that swallows what it is sent included.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);

/// Noting which keys are in use has this time, so that it does not keep the next round waiting.
const NOTE_TIMEOUT: Duration = Duration::from_millis(250);

/// How the last round went.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// It failed: there is no point in waiting for the next.
    pub(super) away: bool,
}

/// Works on a connection of its own, so that a revocation arrives however busy the pool is.
pub(super) struct Rounds {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    pause: Duration,
    hurry: Arc<Notify>,
    done: watch::Sender<Round>,
}

impl Rounds {
    pub(super) fn new(
        options: PgConnectOptions,
        pause: Duration,
        hurry: Arc<Notify>,
        done: watch::Sender<Round>,
    ) -> Self {
        Self { options, connection: None, pause, hurry, done }
    }

    /// Until the registry is gone.
    pub(super) async fn run(mut self, mut used: mpsc::UnboundedReceiver<Arc<Key>>) {
        let mut keys = Vec::new();
        while !keys.is_empty() || used.recv_many(&mut keys, usize::MAX).await > 0 {
            // Those who hurry while the database is away would only ask it more often.
            let away = self.done.borrow().away;
            tokio::select! {
                () = sleep(self.pause) => {}
                () = self.hurry.notified(), if !away => {}
            }
            if used.is_closed() {
                return;
            }
            while let Ok(key) = used.try_recv() {
                keys.push(key);
            }
            // From here on a use is one of the next round.
            keys.iter().for_each(|key| key.unmark_used());
            let result = timeout(ROUND_TIMEOUT, self.round(&keys)).await;
            let result = result.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
            self.done.send_replace(Round { away: result.is_err() });
            if let Err(error) = result {
                self.connection = None;
                if !away {
                    tracing::warn!(%error, "the states of keys cannot be read; they stay as they are for a while");
                }
                // They are asked about until the database is back, used or not.
                keys.retain(|key| key.mark_used());
                continue;
            }
            if away {
                tracing::info!("the states of keys are read again");
            }
            if timeout(NOTE_TIMEOUT, self.note_use(&keys)).await.is_err() {
                self.connection = None;
            }
            keys.clear();
        }
    }

    async fn round(&mut self, keys: &[Arc<Key>]) -> sqlx::Result<()> {
        let as_of = Instant::now();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(PgConnection::connect_with(&self.options).await?),
        };
        let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
        let mut states = api_key::find_many(connection, &ids).await?;
        for key in keys {
            key.update(states.remove(&key.id), as_of);
        }
        Ok(())
    }

    /// Once a minute is enough, and nobody suffers when it cannot be done, as on a database that is read-only.
    async fn note_use(&mut self, keys: &[Arc<Key>]) {
        let now = Instant::now();
        let due: Vec<_> = keys.iter().filter(|key| key.note_is_due(now)).collect();
        let Some(connection) = self.connection.as_mut().filter(|_| !due.is_empty()) else { return };
        let ids: Vec<_> = due.iter().map(|key| key.id).collect();
        match api_key::note_use(connection, &ids).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::debug!(%error, "the use of keys is not noted"),
        }
        due.iter().for_each(|key| key.noted(now));
    }
}
