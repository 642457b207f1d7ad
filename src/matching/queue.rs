//! The waiting room: bounded in all, so that memory is, and fair to every organisation.
//!
//! Matches wait in a line for each organisation, in the order in which they came. A batch takes from all lines as evenly as
//! they allow, so whoever sends a thousand at once delays nobody else. While it is written, its lines are nobody else's:
//! an organisation's matches take effect in their order.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::writer::Job;

/// Matches that wait or are written at the same time. With the longest notices in all of them this is 80 MB.
const PLACES: usize = 2048;
/// Those of one organisation.
const PLACES_OF_ONE: usize = PLACES / 2;
/// Matches in one batch. Batches form by themselves, of what has come in during the last one; this bounds how long whoever
/// comes next waits.
const MAX_BATCH: usize = 256;
/// So many are taken together in any case: smaller batches cost more than working in step saves (docs/performance.md).
const SMALL_BATCH: usize = 24;

/// All that waits.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Default)]
struct State {
    lines: HashMap<i64, Line>,
    /// Lines with somebody in them of which nothing is being written, in the order of their turns.
    turns: VecDeque<i64>,
    /// In all lines, what is being written included.
    jobs: usize,
    /// In the batch that was answered last.
    just_answered: usize,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Job>,
    being_written: usize,
    /// Has a batch to itself next time.
    alone: bool,
}

impl State {
    /// How many matches the next batch may have: half of all who call at present, as whoever was answered last may call again.
    /// While these are written, the others are answered and come back. Were all written together, the server would have nothing to
    /// do meanwhile, and then the database nothing. With several writers, or one that waits for a lock, it may be more than half.
    fn next_batch(&self) -> usize {
        (self.jobs + self.just_answered).div_ceil(2).clamp(SMALL_BATCH, MAX_BATCH)
    }
}

impl Queue {
    /// Gives the job back if there is no room: come back later.
    pub(super) fn enter(&self, job: Job) -> Result<(), Job> {
        let mut state = self.lock();
        if state.jobs >= PLACES {
            return Err(job);
        }
        let organisation_id = job.wanted.organisation_id;
        let line = state.lines.entry(organisation_id).or_default();
        if line.waiting.len() + line.being_written >= PLACES_OF_ONE {
            return Err(job);
        }
        line.waiting.push_back(job);
        let comes_up = line.being_written == 0 && line.waiting.len() == 1;
        state.jobs += 1;
        if comes_up {
            state.turns.push_back(organisation_id);
            drop(state);
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Matches that wait or are being written.
    pub(super) fn depth(&self) -> usize {
        self.lock().jobs
    }

    /// What waits, as soon as something does. `None`: nothing will any more.
    pub(super) async fn take(&self, closed: &CancellationToken) -> Option<Batch<'_>> {
        loop {
            if let Some(batch) = self.take_now() {
                return Some(batch);
            }
            closed.run_until_cancelled(self.ready.notified()).await?;
        }
    }

    fn take_now(&self) -> Option<Batch<'_>> {
        let mut state = self.lock();
        let most = state.next_batch();
        let State { lines, turns, .. } = &mut *state;
        let alone = |id: &i64| lines.get(id).is_some_and(|line| line.alone);
        let together = turns.iter().take(most).take_while(|id| !alone(id)).count();
        let mut organisations: Vec<_> = turns.drain(..together.max(1).min(turns.len())).collect();
        if organisations.is_empty() {
            return None;
        }
        // The shortest first: what they leave of their share is the others'.
        organisations.sort_by_key(|id| lines.get(id).map(|line| line.waiting.len()));
        let mut jobs = Vec::new();
        for (served, id) in organisations.iter().enumerate() {
            let share = (most - jobs.len()) / (organisations.len() - served);
            if let Some(line) = lines.get_mut(id) {
                line.alone = false;
                line.being_written = share.min(line.waiting.len());
                jobs.extend(line.waiting.drain(..line.being_written));
            }
        }
        let more = !turns.is_empty();
        drop(state);
        if more {
            self.ready.notify_one();
        }
        Some(Batch { queue: self, organisations, jobs })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Matches that are being written, those of an organisation one after the other. When it is dropped its organisations have
/// their turns again, and what was not put back has left.
pub(super) struct Batch<'a> {
    queue: &'a Queue,
    organisations: Vec<i64>,
    /// Taken out to be written.
    pub(super) jobs: Vec<Job>,
}

impl Batch<'_> {
    /// Some of its matches must be in a later batch, before all that came after them; the organisations of the locked ones
    /// have it to themselves.
    pub(super) fn put_back(self, deferred: impl Iterator<Item = Job>, locked: Vec<Job>) {
        let mut state = self.queue.lock();
        for job in &locked {
            if let Some(line) = state.lines.get_mut(&job.wanted.organisation_id) {
                line.alone = true;
            }
        }
        let mut later: Vec<_> = deferred.chain(locked).collect();
        later.sort_by_key(|job| job.since);
        for job in later.into_iter().rev() {
            if let Some(line) = state.lines.get_mut(&job.wanted.organisation_id) {
                line.being_written -= 1;
                line.waiting.push_front(job);
            }
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        let State { lines, turns, jobs, just_answered } = &mut *state;
        *just_answered = 0;
        for id in &self.organisations {
            let Some(line) = lines.get_mut(id) else { continue };
            *just_answered += line.being_written;
            *jobs -= line.being_written;
            line.being_written = 0;
            if line.waiting.is_empty() {
                lines.remove(id);
            } else {
                turns.push_back(*id);
            }
        }
        drop(state);
        // To whoever waits for them.
        self.queue.ready.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;
    use crate::domain::{CuRefNo, Email};
    use crate::matching::{Customer, Match};

    fn job(organisation_id: i64, customer: usize) -> Job {
        let manager = CuRefNo::parse("1cGIHvFoQDGLAbcA").unwrap();
        let customer = Customer::Email(Email::parse(&format!("{customer}@example.com")).unwrap());
        let wanted = Match { organisation_id, manager, customer, notice: None };
        Job { wanted, answer: oneshot::channel().0, since: Instant::now() }
    }

    fn queue(jobs: impl IntoIterator<Item = Job>) -> Queue {
        let queue = Queue::default();
        for job in jobs {
            assert!(queue.enter(job).is_ok());
        }
        queue
    }

    fn of(batch: &Batch<'_>, organisation_id: i64) -> Vec<String> {
        let theirs = batch.jobs.iter().filter(|job| job.wanted.organisation_id == organisation_id);
        theirs.filter_map(|job| job.wanted.customer.email()).map(str::to_owned).collect()
    }

    #[test]
    fn a_batch_takes_from_all_lines_as_evenly_as_they_allow() {
        let few = (0..8).map(|customer| job(2, customer));
        let queue =
            queue((0..500).map(|customer| job(1, customer)).chain(few).chain((0..500).map(|c| job(3, c))));
        let batch = queue.take_now().unwrap();
        assert_eq!([1, 2, 3].map(|id| of(&batch, id).len()), [124, 8, 124]);
    }

    #[test]
    fn half_of_those_who_call_are_written_while_the_others_come() {
        let queue = queue((0..64).map(|organisation_id| job(organisation_id, 0)));
        let first = queue.take_now().unwrap();
        assert_eq!(first.jobs.len(), 32);
        drop(first);
        let second = queue.take_now().unwrap();
        assert_eq!(second.jobs.len(), 32, "those who were answered first may call again");
        for organisation_id in 64..74 {
            assert!(queue.enter(job(organisation_id, 0)).is_ok());
        }
        drop(second);
        assert_eq!(queue.take_now().unwrap().jobs.len(), 10, "nobody waits for them");
    }

    #[test]
    fn a_few_are_not_divided() {
        let queue = queue((0..24).map(|organisation_id| job(organisation_id, 0)));
        assert_eq!(queue.take_now().unwrap().jobs.len(), 24);
    }

    #[test]
    fn an_organisation_is_in_one_batch_at_a_time_and_keeps_its_order() {
        let queue = queue((0..300).map(|customer| job(1, customer)));
        let mut batch = queue.take_now().unwrap();
        assert_eq!(batch.jobs.len(), 150);
        assert!(queue.take_now().is_none());
        let last = batch.jobs.pop().unwrap();
        batch.put_back([last].into_iter(), Vec::new());
        let next = of(&queue.take_now().unwrap(), 1);
        assert_eq!(next.first().unwrap(), "149@example.com");
        assert_eq!(next.len(), 150, "151 wait and 149 were answered");
    }

    #[test]
    fn whoever_waits_for_a_lock_has_the_next_batch_alone() {
        let queue = queue([job(1, 0), job(2, 0)]);
        let mut batch = queue.take_now().unwrap();
        let locked = batch.jobs.extract_if(.., |job| job.wanted.organisation_id == 1).collect();
        batch.put_back([].into_iter(), locked);
        assert!(queue.enter(job(3, 0)).is_ok());
        let alone = queue.take_now().unwrap();
        let others = queue.take_now().unwrap();
        assert_eq!([1, 3].map(|id| of(&alone, id).len()), [1, 0]);
        assert_eq!([1, 3].map(|id| of(&others, id).len()), [0, 1]);
    }

    #[test]
    fn the_whole_is_bounded_and_one_organisation_leaves_room_for_the_others() {
        let queue = queue((0..PLACES_OF_ONE).map(|customer| job(1, customer)));
        assert!(queue.enter(job(1, 0)).is_err());
        for customer in PLACES_OF_ONE..PLACES {
            assert!(queue.enter(job(customer as i64, 0)).is_ok());
        }
        assert!(queue.enter(job(-1, 0)).is_err());
        while let Some(batch) = queue.take_now() {
            drop(batch);
        }
        assert!(queue.lock().lines.is_empty(), "nothing is kept for those who left");
        assert_eq!(queue.lock().jobs, 0);
    }
}
