//! Bounded FIFO queue per organisation, with fair batching.
//!
//! A batch takes from all organisations that have pending writes, as evenly as they allow, so a flood of one delays no other. A
//! write that met a lock is blocked: it waits outside the queue, with bounds of its own, and is pushed back after a pause.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::WriteError;
use super::pending_write::PendingWrite;

/// Writes that are queued or in flight. With the longest notices in all of them this is 80 MB. One organisation gets half of it.
pub(super) const CAPACITY: usize = 2048;
/// Writes that wait for the end of a lock: half of the requests that a server has in flight by default, so that they keep
/// no other request out.
const BLOCKED_CAPACITY: usize = 512;
/// Those of one organisation.
const TENANT_BLOCKED_CAPACITY: usize = BLOCKED_CAPACITY / 2;
/// Writes in one batch. Batches form by themselves, of what was pushed during the last one; this bounds how long a
/// write waits for the next.
const MAX_BATCH: usize = 256;
/// Writes in a batch that is written one write at a time: Postgres keeps as many savepoints in its fast path.
const MAX_ISOLATED_BATCH: usize = 64;
/// A batch is not made smaller than this: smaller ones cost more than overlapping server and database saves
/// (docs/performance.md).
const SMALL_BATCH: usize = 24;
/// For so long after a write of an organisation met a lock, its batches are isolated: a lock is often met again.
const ISOLATED_FOR: Duration = Duration::from_secs(1);

/// The writes of an organisation at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantWrites {
    pub organisation_id: i64,
    /// Queued or in flight.
    pub pending: usize,
    /// Waiting for the end of a lock.
    pub blocked: usize,
}

/// All pending writes of a lane.
pub(super) struct Queue {
    capacity: usize,
    state: Mutex<State>,
    pushed: Notify,
}

#[derive(Default)]
struct State {
    tenants: HashMap<i64, TenantQueue>,
    /// Organisations with queued writes, in the order of their turns.
    ready: VecDeque<i64>,
    /// In all organisations, those in flight included.
    pending: usize,
    blocked: usize,
    /// In the batch that was replied to last.
    just_replied: usize,
}

#[derive(Default)]
struct TenantQueue {
    queued: VecDeque<PendingWrite>,
    in_flight: usize,
    blocked: usize,
    isolated_until: Option<Instant>,
}

impl TenantQueue {
    fn is_isolated(&self, now: Instant) -> bool {
        self.isolated_until.is_some_and(|until| now < until)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.queued.is_empty() && self.in_flight == 0 && self.blocked == 0 && !self.is_isolated(now)
    }
}

impl State {
    /// How many writes the next batch may have: half of the requests that call at present, since the clients of the last
    /// batch may call again. While these are written, the others are replied to and come back. Were all written together, the
    /// server would be idle meanwhile, and then the database.
    fn next_batch(&self) -> usize {
        (self.pending + self.just_replied).div_ceil(2).clamp(SMALL_BATCH, MAX_BATCH)
    }

    fn has_room(&self, capacity: usize, organisation_id: i64) -> bool {
        let tenant = self.tenants.get(&organisation_id);
        let of_tenant = tenant.map_or(0, |tenant| tenant.queued.len() + tenant.in_flight);
        self.pending < capacity && of_tenant < capacity / 2
    }

    fn is_isolated(&self, organisation_id: i64, now: Instant) -> bool {
        self.tenants.get(&organisation_id).is_some_and(|tenant| tenant.is_isolated(now))
    }

    /// Queues a write at the end or, if it was in a batch before, at the front.
    fn queue(&mut self, write: PendingWrite, front: bool) {
        let organisation_id = write.organisation_id;
        let tenant = self.tenants.entry(organisation_id).or_default();
        if tenant.queued.is_empty() {
            self.ready.push_back(organisation_id);
        }
        if front {
            tenant.queued.push_front(write);
        } else {
            tenant.queued.push_back(write);
        }
        self.pending += 1;
    }

    fn remove_if_idle(&mut self, organisation_id: i64, now: Instant) {
        if self.tenants.get(&organisation_id).is_some_and(|tenant| tenant.is_idle(now)) {
            self.tenants.remove(&organisation_id);
        }
    }
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default(), pushed: Notify::new() }
    }

    pub(super) fn push(&self, write: PendingWrite) -> Result<(), WriteError> {
        let mut state = self.lock();
        if !state.has_room(self.capacity, write.organisation_id) {
            return Err(WriteError::Overloaded);
        }
        state.queue(write, false);
        drop(state);
        self.pushed.notify_one();
        Ok(())
    }

    /// Queues writes from the front, as many as there is capacity for.
    pub(super) fn push_many(&self, writes: &mut VecDeque<PendingWrite>) {
        let mut state = self.lock();
        let before = writes.len();
        while let Some(write) =
            writes.pop_front_if(|write| state.has_room(self.capacity, write.organisation_id))
        {
            state.queue(write, false);
        }
        drop(state);
        if writes.len() < before {
            self.pushed.notify_one();
        }
    }

    /// Writes that are queued or in flight.
    pub(super) fn depth(&self) -> usize {
        self.lock().pending
    }

    /// Writes that wait for the end of a lock.
    pub(super) fn blocked(&self) -> usize {
        self.lock().blocked
    }

    /// Those of each organisation that has any.
    pub(super) fn tenants(&self) -> Vec<TenantWrites> {
        let state = self.lock();
        let tenants = state.tenants.iter().map(|(id, tenant)| TenantWrites {
            organisation_id: *id,
            pending: tenant.queued.len() + tenant.in_flight,
            blocked: tenant.blocked,
        });
        tenants.filter(|tenant| tenant.pending + tenant.blocked > 0).collect()
    }

    /// The next batch, as soon as there is one. `None`: the queue is closed and empty. Writes that no request waits for are
    /// dropped; those without time for another attempt are answered.
    pub(super) async fn take(&self, closed: &CancellationToken) -> Option<Batch<'_>> {
        loop {
            if let Some(batch) = self.take_now(Instant::now()) {
                return Some(batch);
            }
            closed.run_until_cancelled(self.pushed.notified()).await?;
        }
    }

    fn take_now(&self, now: Instant) -> Option<Batch<'_>> {
        let mut state = self.lock();
        let isolated = state.is_isolated(*state.ready.front()?, now);
        let most = if isolated { MAX_ISOLATED_BATCH } else { state.next_batch() };
        // Organisations of the other kind have a batch of their own.
        let (mut taken, others): (VecDeque<_>, VecDeque<_>) =
            state.ready.iter().copied().partition(|id| state.is_isolated(*id, now) == isolated);
        let mut later = taken.split_off(most.min(taken.len()));
        let mut organisations = Vec::from(taken);
        // The shortest queue first: what it leaves of its share is for the others.
        organisations.sort_by_key(|id| state.tenants.get(id).map(|tenant| tenant.queued.len()));
        let mut writes = Vec::new();
        for (served, id) in organisations.iter().enumerate() {
            let share = (most - writes.len()) / (organisations.len() - served);
            if let Some(tenant) = state.tenants.get_mut(id) {
                let count = share.min(tenant.queued.len());
                tenant.in_flight += count;
                writes.extend(tenant.queued.drain(..count));
                if !tenant.queued.is_empty() {
                    later.push_back(*id);
                }
            }
        }
        state.ready = others;
        state.ready.extend(later);
        let more = !state.ready.is_empty();
        drop(state);
        if more {
            self.pushed.notify_one();
        }
        let in_flight = writes.iter().map(|write| write.organisation_id).collect();
        let waits = writes.iter_mut().filter_map(|write| write.end_wait(now)).collect();
        let writes_left = Vec::with_capacity(writes.len());
        let mut batch = Batch { queue: self, in_flight, isolated, waits, writes: writes_left };
        for write in writes {
            if write.is_late(now) {
                write.fail(WriteError::TimedOut);
            } else if !write.is_abandoned() {
                batch.writes.push(write);
            }
        }
        Some(batch)
    }

    /// Keeps a blocked write outside the queue for a pause that grows with each attempt, and isolates its organisation.
    fn block(self: &Arc<Self>, mut write: PendingWrite) {
        let now = Instant::now();
        let mut state = self.lock();
        let (all, tenant) = (state.blocked, state.tenants.entry(write.organisation_id).or_default());
        tenant.isolated_until = Some(now + ISOLATED_FOR);
        if all >= BLOCKED_CAPACITY || tenant.blocked >= TENANT_BLOCKED_CAPACITY || write.is_late(now) {
            drop(state);
            write.fail(WriteError::TimedOut);
            return;
        }
        tenant.blocked += 1;
        state.blocked += 1;
        drop(state);
        let queue = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(write.back_off()).await;
            let mut state = queue.lock();
            state.blocked -= 1;
            if let Some(tenant) = state.tenants.get_mut(&write.organisation_id) {
                tenant.blocked -= 1;
            }
            state.queue(write, false);
            drop(state);
            queue.pushed.notify_one();
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes in flight. Dropping it gives their capacity back.
pub(super) struct Batch<'a> {
    queue: &'a Queue,
    /// The organisation of each write that was taken out of the queue.
    in_flight: Vec<i64>,
    /// Whether its organisations met a lock a moment ago: it is written one write at a time.
    pub(super) isolated: bool,
    /// How long writes have waited that were taken for the first time, those without time for an attempt included.
    pub(super) waits: Vec<Duration>,
    /// To be written.
    pub(super) writes: Vec<PendingWrite>,
}

impl Batch<'_> {
    /// Ends the batch. `next` belongs into the next batch, before all that came later; `blocked` waits for a lock.
    pub(super) fn finish(self, queue: &Arc<Queue>, next: Vec<PendingWrite>, blocked: Vec<PendingWrite>) {
        // First their capacity, then the writes that are left: the queue never counts a write twice.
        drop(self);
        let mut state = queue.lock();
        let more = !next.is_empty();
        for write in next.into_iter().rev() {
            state.queue(write, true);
        }
        drop(state);
        if more {
            queue.pushed.notify_one();
        }
        for write in blocked {
            queue.block(write);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.queue.lock();
        state.pending -= self.in_flight.len();
        state.just_replied = self.in_flight.len();
        for id in &self.in_flight {
            if let Some(tenant) = state.tenants.get_mut(id) {
                tenant.in_flight -= 1;
            }
        }
        for id in &self.in_flight {
            state.remove_if_idle(*id, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio::sync::oneshot;

    use super::*;
    use crate::domain::{CuRefNo, Email, Match, NamedCustomer, Precondition};
    use crate::group_commit::WriteTimeouts;
    use crate::group_commit::pending_write::{Reply, Request};

    type Result = oneshot::Receiver<std::result::Result<crate::domain::Matched, WriteError>>;

    /// Receivers are kept: a write without one is abandoned.
    #[derive(Default)]
    struct Calls(Vec<Result>);

    impl Calls {
        fn write(&mut self, organisation_id: i64, customer: usize) -> PendingWrite {
            let (reply, result): (Reply<_>, _) = oneshot::channel();
            self.0.push(result);
            let wanted = Match {
                manager: CuRefNo::parse("1cGIHvFoQDGLAbcA").unwrap(),
                customer: NamedCustomer::Email(Email::parse(&format!("{customer}@example.com")).unwrap()),
                notice: None,
                representation: false,
            };
            let timeouts = WriteTimeouts::new(Duration::from_secs(9));
            PendingWrite::new(
                organisation_id,
                Instant::now(),
                timeouts,
                Request::Match(wanted, Precondition::default(), reply),
            )
        }
    }

    fn queue(writes: impl IntoIterator<Item = PendingWrite>) -> Arc<Queue> {
        let queue = Arc::new(Queue::new(CAPACITY));
        for write in writes {
            assert!(queue.push(write).is_ok());
        }
        queue
    }

    fn take(queue: &Queue) -> Option<Batch<'_>> {
        queue.take_now(Instant::now())
    }

    /// How many writes of each organisation the batch has.
    fn counts(batch: &Batch<'_>) -> HashMap<i64, usize> {
        let mut counts = HashMap::new();
        for write in &batch.writes {
            *counts.entry(write.organisation_id).or_default() += 1;
        }
        counts
    }

    fn emails(batch: &Batch<'_>) -> Vec<String> {
        let email = |write: &PendingWrite| match &write.request {
            Request::Match(wanted, ..) => wanted.customer.email().map(str::to_owned),
            _ => None,
        };
        batch.writes.iter().filter_map(email).collect()
    }

    #[test]
    fn a_batch_takes_from_all_organisations_as_evenly_as_they_allow() {
        let mut calls = Calls::default();
        let writes = [(1, 500), (2, 8), (3, 500)].map(|(id, count)| (0..count).map(move |i| (id, i)));
        let queue = queue(writes.into_iter().flatten().map(|(id, i)| calls.write(id, i)));
        assert_eq!(counts(&take(&queue).unwrap()), HashMap::from([(1, 124), (2, 8), (3, 124)]));
    }

    #[test]
    fn a_batch_is_half_of_the_requests_that_call() {
        let mut calls = Calls::default();
        let queue = queue((0..64).map(|id| calls.write(id, 0)));
        let first = take(&queue).unwrap();
        assert_eq!(first.writes.len(), 32);
        drop(first);
        let second = take(&queue).unwrap();
        assert_eq!(second.writes.len(), 32, "the clients of the first may call again");
        for id in 64..74 {
            assert!(queue.push(calls.write(id, 0)).is_ok());
        }
        drop(second);
        assert_eq!(take(&queue).unwrap().writes.len(), 10, "a small batch is not divided");
    }

    #[test]
    fn writes_keep_their_order_and_go_on_in_the_next_batch() {
        let mut calls = Calls::default();
        let queue = queue((0..300).map(|i| calls.write(1, i)));
        let mut batch = take(&queue).unwrap();
        assert_eq!(batch.writes.len(), 150);
        assert_eq!(take(&queue).unwrap().writes.len(), 150, "another writer takes what is left");
        let deferred = batch.writes.split_off(148);
        let more: Vec<_> = (300..302).map(|i| calls.write(1, i)).collect();
        more.into_iter().for_each(|write| assert!(queue.push(write).is_ok()));
        batch.finish(&queue, deferred, Vec::new());
        let expected = [148, 149, 300, 301].map(|i| format!("{i}@example.com"));
        let next = take(&queue).unwrap();
        assert_eq!(emails(&next), expected);
        assert_eq!(next.waits.len(), 2, "a write waits for its first batch only");
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_write_comes_back_in_an_isolated_batch_and_holds_no_capacity() {
        let mut calls = Calls::default();
        let queue = queue([calls.write(1, 0), calls.write(2, 0)]);
        let mut batch = take(&queue).unwrap();
        assert!(!batch.isolated);
        let blocked = batch.writes.extract_if(.., |write| write.organisation_id == 1).collect();
        batch.finish(&queue, Vec::new(), blocked);
        assert_eq!((queue.depth(), queue.blocked()), (0, 1));
        assert_eq!(queue.tenants(), [TenantWrites { organisation_id: 1, pending: 0, blocked: 1 }]);
        assert!(take(&queue).is_none(), "it waits outside the queue");

        // Others of its organisation are isolated too, those of another organisation are not.
        assert!(queue.push(calls.write(1, 1)).is_ok() && queue.push(calls.write(3, 0)).is_ok());
        let batches = [take(&queue).unwrap(), take(&queue).unwrap()];
        assert_eq!(
            batches.each_ref().map(|batch| (batch.isolated, counts(batch))),
            [(true, HashMap::from([(1, 1)])), (false, HashMap::from([(3, 1)])),]
        );
        drop(batches);
        let batch = queue.take(&CancellationToken::new()).await.unwrap();
        assert_eq!((batch.isolated, emails(&batch)), (true, vec!["0@example.com".into()]));
        drop(batch);
        assert_eq!((queue.depth(), queue.blocked()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_write_is_answered_and_an_abandoned_one_dropped() {
        let mut calls = Calls::default();
        let queue = queue([calls.write(1, 0), calls.write(1, 1)]);
        calls.0.pop();
        let batch = queue.take_now(Instant::now() + Duration::from_secs(8)).unwrap();
        assert!(batch.writes.is_empty());
        assert_eq!(batch.waits, [Duration::from_secs(8); 2]);
        assert!(matches!(calls.0.pop().unwrap().await, Ok(Err(WriteError::TimedOut))));
    }

    #[tokio::test(start_paused = true)]
    async fn capacity_is_bounded_and_one_organisation_leaves_room_for_the_others() {
        let mut calls = Calls::default();
        let queue = queue((0..CAPACITY / 2).map(|i| calls.write(1, i)));
        assert!(queue.push(calls.write(1, 0)).is_err());
        for i in CAPACITY / 2..CAPACITY {
            assert!(queue.push(calls.write(i as i64, 0)).is_ok());
        }
        assert!(queue.push(calls.write(-1, 0)).is_err());
        while let Some(mut batch) = take(&queue) {
            let blocked = std::mem::take(&mut batch.writes);
            batch.finish(&queue, Vec::new(), blocked);
        }
        assert_eq!((queue.depth(), queue.blocked()), (0, BLOCKED_CAPACITY));
        assert!(queue.lock().tenants[&1].blocked <= TENANT_BLOCKED_CAPACITY);
    }
}
