//! Starts Postgres again when it ends by itself.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Error;
use super::cluster::{Cluster, END_DEADLINE, Running};

/// Before Postgres is started again; doubled each time until it has run for [`STABLE`].
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest time between two attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Postgres that has run that long does not fail again and again.
const STABLE: Duration = Duration::from_secs(60);
/// How often the length of the log is looked at.
const LOG_CHECK: Duration = Duration::from_secs(60);

/// A task that keeps a cluster running for as long as this lives.
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

    /// Stops Postgres, and waits until its last process has ended.
    pub(super) async fn stop(self) -> Result<(), Error> {
        drop(self.stop);
        // A task that panicked has let go of Postgres too; what counts is said below.
        let _ = timeout(END_DEADLINE, self.task).await;
        self.cluster.ended().await
    }
}

async fn supervise(cluster: Cluster, mut running: Running, stop: CancellationToken) {
    let mut delay = FIRST_DELAY;
    loop {
        let started = Instant::now();
        let mut log_check = interval(LOG_CHECK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return running.stop().await,
                () = running.ended() => break,
                _ = log_check.tick() => {
                    if let Err(error) = cluster.shorten_log() {
                        tracing::warn!("cannot shorten {}: {error}", cluster.log().display());
                    }
                }
            }
        }
        // Whoever may be left of it is told to end, and `launch` waits for that.
        drop(running);
        if started.elapsed() > STABLE {
            delay = FIRST_DELAY;
        }
        tracing::error!(log = %cluster.log().display(), "Postgres has ended; starting it again: {}", cluster.log_end(0));
        running = loop {
            let attempt = async {
                sleep(delay).await;
                cluster.launch().await
            };
            let attempt = stop.run_until_cancelled(attempt).await;
            delay = (delay * 2).min(LONGEST_DELAY);
            match attempt {
                None => return,
                Some(Ok(running)) => break running,
                Some(Err(error)) => tracing::error!("{error}; trying again in {delay:?}"),
            }
        };
        tracing::info!("Postgres runs again");
    }
}
