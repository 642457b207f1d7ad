//! A capacity that its users share, none of which can take it all: connections of the pool, requests in flight, bytes.
//!
//! The rule: a user gets more while it holds no more than is free afterwards. So one user alone gets half of the capacity, two
//! get a third each and n get an (n+1)-th each, and there is always a part left for the next one. (Dynamic thresholds, by
//! which network switches divide their buffers: Choudhury and Hahne, 1998.)

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

pub(crate) struct FairBudget<K: Copy + Eq + Hash> {
    capacity: u64,
    state: Mutex<State<K>>,
}

struct State<K: Copy + Eq + Hash> {
    free: u64,
    /// Calls in the users' queues, so that a release looks through the users only if one of them waits.
    waiting: usize,
    /// Calls that have waited so far.
    waited: u64,
    /// Those that hold something or wait, so the capacity and the waiting requests bound its size.
    users: HashMap<K, User<K>>,
}

struct User<K: Copy + Eq + Hash> {
    held: u64,
    waiting: VecDeque<Waiting<K>>,
}

struct Waiting<K: Copy + Eq + Hash> {
    /// Calls that have waited before it.
    number: u64,
    granted: oneshot::Sender<Share<K>>,
}

/// A part of the capacity; released when dropped.
pub(crate) struct Share<K: Copy + Eq + Hash> {
    budget: Arc<FairBudget<K>>,
    user: K,
    amount: u64,
}

impl<K: Copy + Eq + Hash> FairBudget<K> {
    pub(crate) fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            state: Mutex::new(State { free: capacity, waiting: 0, waited: 0, users: HashMap::new() }),
        })
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn held(&self) -> u64 {
        self.capacity - self.lock().free
    }

    /// `None` if the user holds too much already.
    pub(crate) fn try_take(self: &Arc<Self>, user: K, amount: u64) -> Option<Share<K>> {
        let taken = self.lock().take(user, amount);
        taken.then(|| self.share(user, amount))
    }

    /// Takes one, in the order of the calls of this user, before users that hold more, and before those that hold as much and have
    /// waited less.
    pub(crate) async fn take_one(self: &Arc<Self>, user: K) -> Share<K> {
        loop {
            let granted = {
                let mut state = self.lock();
                if state.take(user, 1) {
                    return self.share(user, 1);
                }
                state.wait(user)
            };
            // An error is not possible: a sender is dropped only after its receiver.
            if let Ok(share) = granted.await {
                return share;
            }
        }
    }

    fn share(self: &Arc<Self>, user: K, amount: u64) -> Share<K> {
        Share { budget: Arc::clone(self), user, amount }
    }

    fn release(self: &Arc<Self>, user: K, amount: u64) {
        // Declared before the lock, so that they are dropped after it.
        let mut not_wanted = Vec::new();
        let mut state = self.lock();
        state.give_back(user, amount);
        while let Some((user, waiting)) = state.next_waiting() {
            not_wanted.extend(waiting.send(self.share(user, 1)).err());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // The numbers stay right after a panic elsewhere: nothing panics between two of them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> State<K> {
    fn take(&mut self, user: K, amount: u64) -> bool {
        let held = self.users.get(&user).map_or(0, |user| user.held);
        let taken = held.saturating_add(amount) <= self.free;
        if taken {
            self.free -= amount;
            self.user(user).held += amount;
        }
        taken
    }

    fn give_back(&mut self, user: K, amount: u64) {
        if let Entry::Occupied(mut entry) = self.users.entry(user) {
            self.free += amount;
            entry.get_mut().held -= amount;
            if entry.get().is_absent() {
                entry.remove();
            }
        }
    }

    fn wait(&mut self, user: K) -> oneshot::Receiver<Share<K>> {
        let (granted, receiver) = oneshot::channel();
        let number = self.waited;
        self.waited += 1;
        let waiting = &mut self.user(user).waiting;
        let before = waiting.len();
        // Those that have left in the meantime: all wait equally long, so they are in front.
        while waiting.pop_front_if(|first| first.granted.is_closed()).is_some() {}
        let left = before - waiting.len();
        waiting.push_back(Waiting { number, granted });
        self.waiting = self.waiting - left + 1;
        receiver
    }

    /// Takes one for the first waiting call of the user that holds least; of those that hold as much, the one that waits longest.
    fn next_waiting(&mut self) -> Option<(K, oneshot::Sender<Share<K>>)> {
        while self.waiting > 0 {
            let candidates = self.users.iter().filter_map(|(key, user)| {
                let first = user.waiting.front().filter(|_| user.held < self.free)?;
                Some((user.held, first.number, *key))
            });
            let (.., key) = candidates.min_by_key(|(held, number, _)| (*held, *number))?;
            // It has one, as a candidate.
            let Waiting { granted, .. } = self.user(key).waiting.pop_front()?;
            self.waiting -= 1;
            if !granted.is_closed() {
                self.user(key).held += 1;
                self.free -= 1;
                return Some((key, granted));
            }
            if self.user(key).is_absent() {
                self.users.remove(&key);
            }
        }
        None
    }

    fn user(&mut self, key: K) -> &mut User<K> {
        self.users.entry(key).or_insert_with(|| User { held: 0, waiting: VecDeque::new() })
    }
}

impl<K: Copy + Eq + Hash> User<K> {
    fn is_absent(&self) -> bool {
        self.held == 0 && self.waiting.is_empty()
    }
}

impl<K: Copy + Eq + Hash> Share<K> {
    /// Takes more; false if the user holds too much already.
    pub(crate) fn grow(&mut self, amount: u64) -> bool {
        let taken = self.budget.lock().take(self.user, amount);
        if taken {
            self.amount += amount;
        }
        taken
    }
}

impl<K: Copy + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        self.budget.release(self.user, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// As much as the user gets.
    fn take_all(budget: &Arc<FairBudget<u8>>, user: u8) -> Vec<Share<u8>> {
        std::iter::from_fn(|| budget.try_take(user, 1)).collect()
    }

    #[test]
    fn there_is_always_a_part_left_for_the_next_user() {
        let budget = FairBudget::new(16);
        let mut held = Vec::new();
        for (user, expected) in [8, 4, 2, 1, 1, 0].into_iter().enumerate() {
            let shares = take_all(&budget, u8::try_from(user).unwrap());
            assert_eq!(shares.len(), expected, "user {user}");
            held.extend(shares);
        }
        assert_eq!(budget.held(), 16);
        drop(held);
        assert_eq!(budget.held(), 0);
        assert!(budget.lock().users.is_empty());
    }

    #[test]
    fn a_capacity_of_one_can_be_used() {
        let budget = FairBudget::new(1);
        let share = budget.try_take(1, 1).unwrap();
        assert!(budget.try_take(2, 1).is_none());
        drop(share);
        assert!(budget.try_take(2, 1).is_some());
    }

    #[test]
    fn bytes_are_taken_as_they_come() {
        let budget = FairBudget::new(100);
        let mut share = budget.try_take(1, 30).unwrap();
        assert!(share.grow(20));
        assert!(!share.grow(1), "it would hold more than is free");
        drop(share);
        assert_eq!(budget.held(), 0);
        assert!(budget.try_take(1, u64::MAX).is_none());
    }

    #[test]
    fn the_user_that_holds_least_is_first() {
        let budget = FairBudget::new(4);
        let mut held = take_all(&budget, 1);
        held.extend(budget.try_take(2, 1));
        held.extend(budget.try_take(3, 1));
        let waiting = |user| {
            let mut waiting = Box::pin(budget.take_one(user));
            assert!(waiting.as_mut().now_or_never().is_none());
            waiting
        };
        let (mut greedy, left, mut modest) = (waiting(1), waiting(4), waiting(4));
        drop(left);
        held.pop();
        assert!(greedy.as_mut().now_or_never().is_none());
        let share = modest.as_mut().now_or_never().unwrap();
        drop((share, held));
        assert!(greedy.now_or_never().is_some());
        assert_eq!(budget.held(), 0);
        assert!(budget.lock().users.is_empty());
    }

    #[test]
    fn of_users_that_hold_as_much_the_one_that_waits_longest_is_first() {
        let budget = FairBudget::new(1);
        let mut held = budget.try_take(0, 1).unwrap();
        let waiting = |user| {
            let mut waiting = Box::pin(budget.take_one(user));
            assert!(waiting.as_mut().now_or_never().is_none());
            (user, waiting)
        };
        let mut calls: Vec<_> = (1..=40).map(waiting).collect();
        for round in 0..3 {
            for expected in 1..=40 {
                drop(held);
                let mut granted = None;
                calls.retain_mut(|(user, call)| match call.as_mut().now_or_never() {
                    Some(share) => granted.replace((*user, share)).is_some(),
                    None => true,
                });
                let (user, share) = granted.unwrap();
                assert_eq!(user, expected, "round {round}");
                held = share;
                calls.push(waiting(user));
            }
        }
    }

    #[test]
    fn calls_that_have_left_take_no_memory() {
        let budget = FairBudget::new(1);
        let _held = budget.try_take(1, 1).unwrap();
        for _ in 0..100 {
            assert!(budget.take_one(1).now_or_never().is_none());
        }
        assert_eq!(budget.lock().users[&1].waiting.len(), 1);
    }
}
