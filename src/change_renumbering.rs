//! Gives the relations of an organisation new change numbers, when a request for its changes finds that it was moved to another worker
//! of the cluster ([`crate::db::change_origin`]).
//!
//! One task renumbers, some relations of each organisation in turn, so that a large organisation does not delay small ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::db::connect::{Plans, Session};
use crate::db::{Connections, Layout, change_origin};

/// Of one step, which renumbers some thousand relations and waits for their locks.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for its organisation: long enough for ten thousand relations.
const QUICK: Duration = Duration::from_secs(1);

const SESSION: Session = Session {
    application_name: "customer-match renumbering",
    statement_timeout: STEP_TIMEOUT,
    lock_timeout: STEP_TIMEOUT,
    plans: Plans::Auto,
};

/// The handle of the task, which ends with it.
pub struct ChangeRenumbering {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// In their turn.
    pending: Mutex<VecDeque<Pending>>,
    begun: Notify,
}

struct Pending {
    organisation_id: i64,
    /// Of requests.
    waiting: Vec<oneshot::Sender<()>>,
}

impl ChangeRenumbering {
    /// No connection is open until an organisation has to be renumbered.
    pub fn start(options: PgConnectOptions, layout: Layout) -> Self {
        let shared = Arc::<Shared>::default();
        let task = work(Arc::clone(&shared), Connections::new(options, SESSION.on(layout)));
        Self { shared, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }

    /// Renumbers the organisation, and returns whether all its relations are renumbered by now. If not, it goes on.
    pub async fn renumber(&self, organisation_id: i64) -> bool {
        let done = self.shared.add(organisation_id);
        matches!(timeout(QUICK, done).await, Ok(Ok(())))
    }
}

/// Never returns.
async fn work(shared: Arc<Shared>, connections: Connections) {
    loop {
        let Some(organisation_id) = shared.first() else {
            shared.begun.notified().await;
            continue;
        };
        let step = async |db: &mut PgConnection| change_origin::renumber_some(db, organisation_id).await;
        let result = connections.with_connection(STEP_TIMEOUT, step).await;
        match &result {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(organisation_id, "the changes of an organisation are numbered on its worker");
            }
            // The next request for its changes begins again.
            Err(error) => {
                tracing::warn!(%error, organisation_id, "the changes of an organisation cannot be numbered");
            }
        }
        shared.end_turn(result.ok());
    }
}

impl Shared {
    fn add(&self, organisation_id: i64) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut pending = self.pending();
        match pending.iter_mut().find(|pending| pending.organisation_id == organisation_id) {
            Some(pending) => pending.waiting.push(sender),
            None => pending.push_back(Pending { organisation_id, waiting: vec![sender] }),
        }
        self.begun.notify_one();
        receiver
    }

    fn first(&self) -> Option<i64> {
        self.pending().front().map(|pending| pending.organisation_id)
    }

    /// Ends the turn of the first one. `None`: it failed.
    fn end_turn(&self, is_done: Option<bool>) {
        let mut pending = self.pending();
        let Some(first) = pending.pop_front() else { return };
        match is_done {
            Some(false) => pending.push_back(first),
            Some(true) => first.waiting.into_iter().for_each(|waiting| {
                // An error means that the request waits no longer.
                let _ = waiting.send(());
            }),
            None => {}
        }
    }

    fn pending(&self) -> MutexGuard<'_, VecDeque<Pending>> {
        // Nothing panics while it is locked.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organisations_take_turns() {
        let shared = Shared::default();
        let (mut large, mut small, mut same) = (shared.add(1), shared.add(2), shared.add(1));
        assert_eq!(shared.first(), Some(1));
        shared.end_turn(Some(false));
        assert_eq!(shared.first(), Some(2));
        shared.end_turn(Some(true));
        assert!(small.try_recv().is_ok() && large.try_recv().is_err());
        assert_eq!(shared.first(), Some(1));
        shared.end_turn(Some(true));
        assert!(large.try_recv().is_ok() && same.try_recv().is_ok());
        assert_eq!(shared.first(), None);
    }

    #[test]
    fn requests_of_a_failure_are_told() {
        let shared = Shared::default();
        let mut request = shared.add(1);
        shared.end_turn(None);
        assert_eq!(request.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(shared.first(), None);
    }
}
