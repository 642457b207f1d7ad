//! One lane for each node of a cluster, with a queue and writers of its own: a batch is of organisations of one node, and a node
//! that is down or slow delays no write of another. A Postgres that is not distributed is one lane.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::postgres::PgConnectOptions;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::pending_write::PendingWrite;
use super::queue::{CAPACITY, Queue, TenantWrites};
use super::writer::Writer;
use super::{Counters, WriteError};
use crate::db::placement::{Node, Placements};
use crate::db::{Layout, concurrent_batches};

/// Tasks that can write, in each lane. Most are spare, for when a batch is slow.
const WRITERS: usize = 8;
/// At most so many batches of a lane are written at the same time, slow ones aside.
const MAX_CONCURRENT_BATCHES: usize = 4;

/// All pending writes. With it the writers end, once each write has a reply.
pub(super) struct Lanes {
    options: PgConnectOptions,
    placements: Placements,
    counters: Counters,
    /// Of each node for which there was a write.
    queues: Mutex<HashMap<Node, Arc<Queue>>>,
    closed: CancellationToken,
    _open: DropGuard,
}

impl Lanes {
    pub(super) fn new(options: PgConnectOptions, placements: Placements, counters: Counters) -> Self {
        let closed = CancellationToken::new();
        let _open = closed.clone().drop_guard();
        Self { options, placements, counters, queues: Mutex::default(), closed, _open }
    }

    /// Makes the node of an organisation known, whose writes then wait for no other node.
    pub(super) async fn locate(&self, organisation_id: i64) {
        self.placements.find(organisation_id).await;
    }

    pub(super) fn push(&self, write: PendingWrite) -> Result<(), WriteError> {
        self.queue_of(write.organisation_id).push(write)
    }

    /// Queues writes from the front, as many as there is capacity for. They are of one organisation.
    pub(super) fn push_many(&self, writes: &mut VecDeque<PendingWrite>) {
        if let Some(first) = writes.front() {
            self.queue_of(first.organisation_id).push_many(writes);
        }
    }

    pub(super) fn depth(&self) -> usize {
        self.queues().values().map(|queue| queue.depth()).sum()
    }

    pub(super) fn blocked(&self) -> usize {
        self.queues().values().map(|queue| queue.blocked()).sum()
    }

    /// An organisation whose shard has moved may be in two lanes.
    pub(super) fn tenants(&self) -> Vec<TenantWrites> {
        let mut tenants = BTreeMap::<i64, TenantWrites>::new();
        for found in self.queues().values().flat_map(|queue| queue.tenants()) {
            let none = TenantWrites { pending: 0, blocked: 0, ..found };
            let tenant = tenants.entry(found.organisation_id).or_insert(none);
            tenant.pending += found.pending;
            tenant.blocked += found.blocked;
        }
        tenants.into_values().collect()
    }

    fn queue_of(&self, organisation_id: i64) -> Arc<Queue> {
        let node = self.placements.known(organisation_id);
        Arc::clone(self.queues().entry(node).or_insert_with(|| self.open()))
    }

    /// Starts the writers of a lane, each of which connects when its first batch comes.
    fn open(&self) -> Arc<Queue> {
        let queue = Arc::new(Queue::new(match self.placements.layout() {
            Layout::Single => CAPACITY,
            // So many as are pending at a node that is down keep no other request out of a server with the default limit.
            Layout::Distributed => CAPACITY / 2,
        }));
        let write_permits = Arc::new(Semaphore::new(concurrent_batches(MAX_CONCURRENT_BATCHES)));
        for _ in 0..WRITERS {
            let writer = Writer::new(self.options.clone(), self.placements.clone(), self.counters.clone());
            let closed = self.closed.clone();
            tokio::spawn(writer.run(Arc::clone(&queue), Arc::clone(&write_permits), closed));
        }
        queue
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Node, Arc<Queue>>> {
        // Nothing panics while it is locked.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
