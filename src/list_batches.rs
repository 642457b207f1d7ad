//! Lists of a distributed database, read in batches: for its part in one call of a function the coordinator spends as much as a worker for
//! a list.
//!
//! There is a lane for each node. A list is read at once while its lane has a call to spare; further ones wait, and the next call reads
//! all of them, up to [`MAX_BATCH`]. So a batch never waits for more, and grows with the load.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::db::connect::{Plans, Session};
use crate::db::matched_customer::{self, Beginning, List, ListAnswer, ListParameters};
use crate::db::placement::{Node, Placements};
use crate::db::{self, Connections, Layout, STATEMENT_TIMEOUT, USE_TIMEOUT, bounded, concurrent_batches};
use crate::fair_budget::{FairBudget, Share};
use crate::server_timing::Steps;

/// Lists in a batch. Twice as many save the coordinator little more, and the first one waits for the last.
const MAX_BATCH: usize = 16;
/// Calls of a lane at the same time, on a machine with many processors.
const MAX_CONCURRENT_CALLS: usize = 8;
/// A list whose rows are locked, as while a shard is moved, delays the others of its batch so long. Then each is read by itself.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);
/// A batch that takes longer may have a list whose rows are on another node, as after the move of a shard.
const SLOW_BATCH_AFTER: Duration = Duration::from_millis(25);
/// If a batch fails within this time, as where one of its lists is of a worker that is down, each list is read by itself. Later, the
/// others would take as long as that.
const READ_ALONE_WITHIN: Duration = Duration::from_secs(1);
/// Of a list, which may have to wait for the batch before; that takes as long as another read ([`USE_TIMEOUT`]). Shorter than the request timeout.
const LIST_TIMEOUT: Duration = Duration::from_millis(7500);

const SESSION: Session = Session {
    application_name: "customer-match lists",
    statement_timeout: STATEMENT_TIMEOUT,
    lock_timeout: LOCK_TIMEOUT,
    plans: Plans::Custom,
};

/// All lanes. With it they end.
pub(crate) struct ListBatches {
    options: PgConnectOptions,
    placements: Placements,
    /// Of each node that had a list to read.
    lanes: Mutex<HashMap<Node, Lane>>,
    sizes: Histogram,
}

/// The lists that wait for a node.
#[derive(Clone)]
struct Lane {
    waiting: mpsc::UnboundedSender<(ListParameters, Waiting)>,
    /// For lists that wait or are being read, so that no organisation keeps the others out: one has at most as many as can be read at
    /// the same time.
    permits: Arc<FairBudget<i64>>,
}

/// A request that waits for its list.
struct Waiting {
    /// Dropped without a reply if the list has to be read by itself.
    reply: oneshot::Sender<sqlx::Result<ListAnswer>>,
    _permit: Share<i64>,
}

impl ListBatches {
    pub(crate) fn new(options: PgConnectOptions, placements: Placements) -> Self {
        let sizes = Histogram::new([1.0, 2.0, 4.0, 8.0, MAX_BATCH as f64]);
        Self { options, placements, lanes: Mutex::default(), sizes }
    }

    /// Lists that were read in one call. `None`: the database is not distributed.
    pub(crate) fn sizes(&self) -> Option<Histogram> {
        (self.placements.layout() == Layout::Distributed).then(|| self.sizes.clone())
    }

    /// The first statement about a list. `None`: a list of the batch failed or is locked, maybe this one, so it has to be read by itself.
    ///
    /// # Errors
    ///
    /// The database cannot be used now, or did not answer in time.
    pub(crate) async fn begin<'a>(&self, list: &List<'a>) -> sqlx::Result<Option<Beginning<'a>>> {
        let started = Instant::now();
        let answer = bounded(LIST_TIMEOUT, self.read(list)).await;
        if let Some(steps) = Steps::of_request() {
            steps.record("read", started.elapsed());
        }
        answer?.map(|answer| answer.beginning(list)).transpose()
    }

    async fn read(&self, list: &List<'_>) -> sqlx::Result<Option<ListAnswer>> {
        let node = self.placements.find(list.organisation_id).await;
        let lane = self.lane(node);
        let permit = lane.permits.take_one(list.organisation_id).await;
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { reply, _permit: permit };
        // The lane is open as long as this value has its sender.
        let _ = lane.waiting.send((ListParameters::new(list), waiting));
        answer.await.ok().transpose()
    }

    fn lane(&self, node: Node) -> Lane {
        // Nothing panics while it is locked.
        let mut lanes: MutexGuard<'_, _> = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let open = || {
            Lane::open(Reader {
                connections: Connections::new(self.options.clone(), SESSION),
                placements: self.placements.clone(),
                sizes: self.sizes.clone(),
            })
        };
        lanes.entry(node).or_insert_with(open).clone()
    }
}

impl Lane {
    fn open(reader: Reader) -> Self {
        let calls = concurrent_batches(MAX_CONCURRENT_CALLS);
        let (waiting, receiver) = mpsc::unbounded_channel();
        tokio::spawn(run(receiver, Arc::new(reader), Arc::new(Semaphore::new(calls))));
        Self { waiting, permits: FairBudget::new(2 * (calls * MAX_BATCH) as u64) }
    }
}

async fn run(
    mut receiver: mpsc::UnboundedReceiver<(ListParameters, Waiting)>,
    reader: Arc<Reader>,
    calls: Arc<Semaphore>,
) {
    // The semaphore is never closed.
    while let Ok(call) = Arc::clone(&calls).acquire_owned().await {
        let mut batch = Vec::new();
        if receiver.recv_many(&mut batch, MAX_BATCH).await == 0 {
            return;
        }
        batch.retain(|(_, waiting)| !waiting.reply.is_closed());
        if batch.is_empty() {
            continue;
        }
        let reader = Arc::clone(&reader);
        tokio::spawn(async move {
            reader.read(batch).await;
            drop(call);
        });
    }
}

/// Reads the batches of a lane.
struct Reader {
    connections: Connections,
    placements: Placements,
    sizes: Histogram,
}

impl Reader {
    async fn read(&self, batch: Vec<(ListParameters, Waiting)>) {
        let (parameters, waiting): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        self.sizes.observe(parameters.len() as f64);
        let began = Instant::now();
        let read =
            async |db: &mut PgConnection| matched_customer::read_batch(db, &parameters, LOCK_TIMEOUT).await;
        let answers = self.connections.with_connection(USE_TIMEOUT, read).await;
        let took = began.elapsed();
        if answers.is_err() || took > SLOW_BATCH_AFTER {
            parameters.iter().for_each(|list| self.placements.doubt(list.organisation_id));
        }
        match answers {
            Ok(answers) => {
                for (waiting, answer) in waiting.into_iter().zip(answers) {
                    // An error means that the request has ended.
                    let _ = waiting.reply.send(Ok(answer));
                }
            }
            Err(error) if db::is_unavailable(&error) && took > READ_ALONE_WITHIN => {
                for waiting in waiting {
                    let _ = waiting.reply.send(Err(sqlx::Error::Io(io::Error::other(error.to_string()))));
                }
            }
            Err(error) => {
                tracing::debug!(%error, lists = waiting.len(), "each list of the batch is read by itself");
            }
        }
    }
}
