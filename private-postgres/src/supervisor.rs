//! Restarts Postgres when it ends by itself, with exponential backoff.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Error;
use super::cluster::{Cluster, Running, STOP_TIMEOUT};

/// Delay before a restart; it doubles with each one until Postgres has run for [`STABLE_AFTER`].
const MIN_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(30);
/// After this time the last failure counts as solved.
const STABLE_AFTER: Duration = Duration::from_secs(60);
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The handle of the task that keeps a cluster running. Dropping it stops Postgres.
pub(super) struct Supervisor {
    cluster: Cluster,
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Supervisor {
    pub(super) fn new(cluster: Cluster, running: Running) -> Supervisor {
        let stop = CancellationToken::new();
        let task = tokio::spawn(supervise(cluster.clone(), running, stop.clone()));
        Supervisor { cluster, stop: stop.drop_guard(), task }
    }

    /// Stops Postgres and waits until its last process has ended.
    pub(super) async fn stop(self) -> Result<(), Error> {
        drop(self.stop);
        // If the task panicked or is late, `ended` reports what still runs.
        let _ = timeout(STOP_TIMEOUT, self.task).await;
        self.cluster.ended().await
    }
}

async fn supervise(cluster: Cluster, mut running: Running, stop: CancellationToken) {
    let mut delay = MIN_DELAY;
    loop {
        let started = Instant::now();
        let mut log_check = interval(LOG_CHECK_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return running.stop().await,
                () = running.ended() => break,
                _ = log_check.tick() => {
                    if let Err(error) = cluster.rotate_log() {
                        tracing::warn!("cannot rotate {}: {error}", cluster.log().display());
                    }
                }
            }
        }
        let log_start = running.log_start;
        // Tells the watchdog to end what still runs; `launch` waits for that.
        drop(running);
        if started.elapsed() > STABLE_AFTER {
            delay = MIN_DELAY;
        }
        tracing::error!(log = %cluster.log().display(), "Postgres has ended; restarting it: {}", cluster.log_end(log_start));
        running = loop {
            let attempt = async {
                sleep(delay).await;
                cluster.launch().await
            };
            let attempt = stop.run_until_cancelled(attempt).await;
            delay = (delay * 2).min(MAX_DELAY);
            match attempt {
                None => return,
                Some(Ok(running)) => break running,
                Some(Err(error)) => tracing::error!("{error}; retrying in {delay:?}"),
            }
        };
        tracing::info!("Postgres restarted");
    }
}
