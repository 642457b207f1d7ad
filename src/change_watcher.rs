//! Calls that wait until a relation of their organisation changes (`match-changes?wait=`).
//!
//! One task asks the database for all of them together, on a connection of its own (on a cluster: one for each worker, which may be
//! slow or down): a waiting call holds no connection and no permit, only its memory. `NOTIFY` would be no cheaper: a transaction that notifies takes a lock of the whole cluster, so
//! commits would be made one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::db::Connections;
use crate::db::change_origin::Visible;
use crate::db::connect::{Plans, Session};
use crate::db::placement::{Node, Placements};
use crate::db::relation_change;
use crate::fair_budget::FairBudget;

/// How late a waiting call hears of a change, at most.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Client-side timeout of one poll, as a broken network may never deliver an error.
const POLL_TIMEOUT: Duration = Duration::from_secs(1);
/// Calls that wait at the same time, of which one organisation has half at most. Each takes about 40 KB with its connection.
const CAPACITY: u64 = 1_024;
/// What was observed of running transactions is not known any more after this time.
const OBSERVATION_LASTS: Duration = Duration::from_secs(60);

const SESSION: Session = Session {
    application_name: "customer-match changes",
    statement_timeout: POLL_TIMEOUT,
    lock_timeout: POLL_TIMEOUT,
    plans: Plans::Generic,
};

/// The handle of the task, which ends with it.
pub struct ChangeWatcher {
    shared: Arc<Shared>,
    capacity: Arc<FairBudget<i64>>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Vec<Waiting>>,
    /// A call waits.
    begun: Notify,
    /// By the node of the transactions.
    held_back: Mutex<HashMap<i64, HeldBack>>,
}

struct Waiting {
    organisation_id: i64,
    /// The change number that the reader has come to.
    after: i64,
    changed: oneshot::Sender<()>,
}

/// A transaction that held changes back when it was last observed.
struct HeldBack {
    first_running: i64,
    since: Instant,
    observed: Instant,
}

/// How a wait has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited {
    /// There may be a change.
    Changed,
    /// The time is over, or too many calls wait already.
    Unchanged,
}

impl ChangeWatcher {
    /// No connection is open until a call waits.
    pub fn start(options: PgConnectOptions, placements: Placements) -> Self {
        let shared = Arc::<Shared>::default();
        let connections = Connections::new(options, SESSION.on(placements.layout()));
        let task = watch(Arc::clone(&shared), connections, placements);
        Self {
            shared,
            capacity: FairBudget::new(CAPACITY),
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        }
    }

    /// Waits until the organisation has a change that can be shown and that comes after this one, or for `longest`.
    pub async fn wait(&self, organisation_id: i64, after: i64, longest: Duration) -> Waited {
        let Some(_place) = self.capacity.try_take(organisation_id, 1) else { return Waited::Unchanged };
        let (changed, receiver) = oneshot::channel();
        self.shared.waiting().push(Waiting { organisation_id, after, changed });
        self.shared.begun.notify_one();
        match timeout(longest, receiver).await {
            Ok(_) => Waited::Changed,
            Err(_) => Waited::Unchanged,
        }
    }

    /// Takes note of which changes can be shown, for [`held_back_for`](Self::held_back_for).
    pub fn observe(&self, visible: Visible) {
        self.shared.observe(visible, Instant::now());
    }

    /// How many calls wait.
    pub fn waiting(&self) -> u64 {
        self.capacity.held()
    }

    /// For how long the oldest running transaction has been seen to hold changes back, on that node where it is longest. Seen by calls and polls, so zero while no
    /// client reads.
    pub fn held_back_for(&self) -> Duration {
        self.shared.held_back_for(Instant::now())
    }
}

/// Never returns.
async fn watch(shared: Arc<Shared>, connections: Connections, placements: Placements) {
    loop {
        let organisations = shared.organisations();
        if organisations.is_empty() {
            shared.begun.notified().await;
        } else {
            let nodes = by_node(organisations, &placements).await;
            let polls = nodes.values().map(|organisations| async {
                let layout = placements.layout();
                let latest = async |db: &mut _| relation_change::latest(db, layout, organisations).await;
                match connections.with_connection(POLL_TIMEOUT, latest).await {
                    Ok((visible, latest)) => {
                        shared.observe(visible, Instant::now());
                        shared.wake(&latest);
                    }
                    // The calls end with their time, and the next ones say what is wrong.
                    Err(error) => tracing::debug!(%error, "cannot look for changes"),
                }
            });
            join_all(polls).await;
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// An organisation that was moved a moment ago may be at its former node: its calls hear of a change late, at the end of their time at worst.
async fn by_node(organisations: Vec<i64>, placements: &Placements) -> HashMap<Node, Vec<i64>> {
    let find = async {
        for &organisation_id in &organisations {
            placements.find(organisation_id).await;
        }
    };
    // Those that are not found in time are asked for by way of the coordinator.
    let _ = timeout(POLL_TIMEOUT, find).await;
    let mut nodes: HashMap<_, Vec<_>> = HashMap::new();
    for organisation_id in organisations {
        nodes.entry(placements.known(organisation_id)).or_default().push(organisation_id);
    }
    nodes
}

impl Shared {
    /// Those that calls wait for. Forgets the calls that have ended.
    fn organisations(&self) -> Vec<i64> {
        let mut waiting = self.waiting();
        waiting.retain(|call| !call.changed.is_closed());
        let mut organisations: Vec<_> = waiting.iter().map(|call| call.organisation_id).collect();
        organisations.sort_unstable();
        organisations.dedup();
        organisations
    }

    /// Wakes the calls that have not come to the latest change of their organisation.
    fn wake(&self, latest: &HashMap<i64, i64>) {
        let is_changed =
            |call: &mut Waiting| latest.get(&call.organisation_id).is_some_and(|latest| *latest > call.after);
        for call in self.waiting().extract_if(.., is_changed) {
            // An error means that the call has ended.
            let _ = call.changed.send(());
        }
    }

    fn observe(&self, visible: Visible, now: Instant) {
        let Visible { node, first_running, next } = visible;
        let mut held_back = self.held_back();
        let before = held_back.remove(&node).filter(|before| before.first_running == first_running);
        if first_running < next {
            let since = before.map_or(now, |before| before.since);
            held_back.insert(node, HeldBack { first_running, since, observed: now });
        }
    }

    fn held_back_for(&self, now: Instant) -> Duration {
        let mut held_back = self.held_back();
        held_back.retain(|_, held| now - held.observed < OBSERVATION_LASTS);
        held_back.values().map(|held| held.observed - held.since).max().unwrap_or_default()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // Nothing panics while it is locked.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_back(&self) -> MutexGuard<'_, HashMap<i64, HeldBack>> {
        // Nothing panics while it is locked.
        self.held_back.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(first_running: i64, next: i64) -> Visible {
        Visible { node: Visible::ONLY_NODE, first_running, next }
    }

    #[test]
    fn one_transaction_holds_back_for_as_long_as_it_is_seen() {
        let shared = Shared::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let held = |seconds| shared.held_back_for(at(seconds)).as_secs();
        assert_eq!(held(0), 0);
        shared.observe(visible(7, 9), at(0));
        shared.observe(visible(7, 20), at(30));
        assert_eq!(held(31), 30);
        shared.observe(visible(8, 21), at(40));
        assert_eq!(held(41), 0, "another one");
        shared.observe(visible(8, 22), at(50));
        assert_eq!((held(51), held(110)), (10, 0), "no client has read for a minute");
        shared.observe(visible(22, 22), at(60));
        assert_eq!(held(61), 0, "none is running");
    }

    #[test]
    fn the_node_that_holds_back_longest_counts() {
        let shared = Shared::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        for (node, second) in [(1, 0), (2, 5), (1, 20), (2, 20)] {
            shared.observe(Visible { node, first_running: 7, next: 9 }, at(second));
        }
        assert_eq!(shared.held_back_for(at(20)).as_secs(), 20);
        shared.observe(Visible { node: 1, first_running: 9, next: 9 }, at(21));
        assert_eq!(shared.held_back_for(at(21)).as_secs(), 15);
    }

    #[test]
    fn a_change_wakes_those_that_have_not_come_to_it() {
        let shared = Shared::default();
        let wait = |organisation_id, after| {
            let (changed, receiver) = oneshot::channel();
            shared.waiting().push(Waiting { organisation_id, after, changed });
            receiver
        };
        let (mut behind, mut there, mut of_other, left) = (wait(1, 4), wait(1, 5), wait(2, 4), wait(3, 4));
        drop(left);
        assert_eq!(shared.organisations(), [1, 2], "the call of 3 has ended");
        shared.wake(&HashMap::from([(1, 5)]));
        assert!(behind.try_recv().is_ok() && there.try_recv().is_err() && of_other.try_recv().is_err());
        assert_eq!(shared.organisations(), [1, 2]);
    }
}
