//! What all clients of a run share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use crate::api::Api;
use crate::customers::{Customers, FIRST_NEWCOMER, Id, neighbours};
use crate::interner::{Interner, Symbol};
use crate::locks::Locks;
use crate::model::Time;

/// So many calls in a row are about the same newcomer, so that the first of them overlap.
const CALLS_PER_NEWCOMER: Id = 6;
/// Calls in flight about one pair: the number of orders grows exponentially with it.
const MAX_CALLS_PER_PAIR: u32 = 8;
/// Identities that can be drawn; older ones are forgotten, not logged out.
const MAX_IDENTITIES: usize = 64;

pub struct World {
    /// By server, then by organisation. Several servers on one database are one server.
    pub servers: Vec<Vec<Api>>,
    pub customers: Customers,
    pub interner: Interner,
    pub locks: Locks,
    began: (Instant, SystemTime),
    newcomer_calls: AtomicU32,
    acknowledged: AtomicU64,
    identities: Mutex<Vec<(Id, Symbol)>>,
    calls_per_pair: Mutex<HashMap<(Id, Id), u32>>,
}

impl World {
    pub fn new(servers: Vec<Vec<Api>>) -> Self {
        Self {
            servers,
            customers: Customers::default(),
            interner: Interner::default(),
            locks: Locks::default(),
            began: (Instant::now(), SystemTime::now()),
            newcomer_calls: AtomicU32::default(),
            acknowledged: AtomicU64::default(),
            identities: Mutex::default(),
            calls_per_pair: Mutex::default(),
        }
    }

    pub fn now(&self) -> Time {
        // 580 years.
        Time::try_from(self.began.0.elapsed().as_nanos()).unwrap_or(Time::MAX)
    }

    /// A time of the database, in seconds since 1970; 0 if it was before the run.
    pub fn at(&self, unix_seconds: f64) -> Time {
        let began = self.began.1.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        ((unix_seconds - began.as_secs_f64()) * 1e9) as Time
    }

    pub fn count_acknowledged(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that were acknowledged until now.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// The neighbours of each other organisation.
    pub fn neighbours(&self) -> impl Iterator<Item = [Id; 2]> {
        (1..self.servers.first().map_or(0, Vec::len)).map(neighbours)
    }

    /// The next one in turn.
    pub fn newcomer(&self) -> Id {
        FIRST_NEWCOMER + self.newcomer_calls.fetch_add(1, Ordering::Relaxed) / CALLS_PER_NEWCOMER
    }

    /// One that no call was about yet.
    pub fn untouched_newcomer(&self) -> Id {
        let calls = self.newcomer_calls.fetch_add(2 * CALLS_PER_NEWCOMER, Ordering::Relaxed);
        FIRST_NEWCOMER + calls / CALLS_PER_NEWCOMER + 1
    }

    pub fn add_identity(&self, id: Id, identity: Symbol) {
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        if identities.len() == MAX_IDENTITIES {
            identities.remove(0);
        }
        identities.push((id, identity));
    }

    /// The identity at an index, modulo their number.
    pub fn identity(&self, index: usize) -> Option<(Id, Symbol)> {
        let identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        identities.get(index.checked_rem(identities.len())?).copied()
    }

    /// Counts a call about the pair, unless there are too many already.
    pub fn enter(&self, one: Id, other: Id) -> bool {
        let mut counts = self.calls_per_pair.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((one.min(other), one.max(other))).or_default();
        let may_enter = *count < MAX_CALLS_PER_PAIR;
        *count += u32::from(may_enter);
        may_enter
    }

    /// Ends what [`World::enter`] began.
    pub fn leave(&self, one: Id, other: Id) {
        let mut counts = self.calls_per_pair.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = (one.min(other), one.max(other));
        if let Some(count) = counts.get_mut(&pair) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&pair);
            }
        }
    }
}
