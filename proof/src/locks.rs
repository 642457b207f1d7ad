//! The record of row locks that the crash test holds, and which calls each of them concerns.

use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use crate::call::Request;
use crate::customers::{FEW_REGISTERED, Id, organisation};
use crate::model::Time;

/// What the rows stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    Relation(Id, Id),
    /// A customer, or its e-mail address in a transaction that has not ended.
    Customer(Id),
    /// The row of an organisation, which every new customer refers to.
    Organisation(usize),
}

impl Locked {
    /// Whether a call may have to wait for the rows. Reads never wait.
    pub fn concerns(self, request: &Request) -> bool {
        if !request.is_write() {
            return false;
        }
        let may_create = match *request {
            Request::Match { by_email, .. } => by_email,
            Request::Create { .. } | Request::LogIn { .. } => true,
            _ => false,
        };
        match (self, request) {
            (Self::Relation(one, other), Request::Invalid(_)) => {
                FEW_REGISTERED.contains(&one) && FEW_REGISTERED.contains(&other)
            }
            (Self::Customer(locked), Request::Invalid(_)) => FEW_REGISTERED.contains(&locked),
            // All of them are in the first organisation, and some have a new e-mail address.
            (Self::Organisation(locked), Request::Invalid(_)) => locked == 0,
            (Self::Relation(one, other), _) => {
                let ids: Vec<_> = request.customers().collect();
                ids == [one, other] || ids == [other, one]
            }
            (Self::Customer(locked), _) => request.customers().any(|id| id == locked),
            (Self::Organisation(locked), _) => {
                may_create && request.customers().all(|id| organisation(id) == locked)
            }
        }
    }
}

/// From before the rows were locked until after they were released.
#[derive(Debug, Clone)]
pub struct Lock {
    pub locked: Vec<Locked>,
    pub from: Time,
    /// `None`: still held.
    pub to: Option<Time>,
}

impl Lock {
    pub fn overlaps(&self, time: &Range<Time>) -> bool {
        self.from <= time.end && self.to.is_none_or(|to| time.start <= to)
    }

    pub fn concerns(&self, request: &Request) -> bool {
        self.locked.iter().any(|locked| locked.concerns(request))
    }
}

/// All locks of a run.
#[derive(Default)]
pub struct Locks(RwLock<Vec<Lock>>);

impl Locks {
    /// To be called before the rows are locked. Returns the index.
    pub fn announce(&self, locked: Vec<Locked>, from: Time) -> usize {
        let mut locks = self.0.write().unwrap_or_else(PoisonError::into_inner);
        locks.push(Lock { locked, from, to: None });
        locks.len() - 1
    }

    /// To be called after the rows were released.
    pub fn release(&self, index: usize, to: Time) {
        let mut locks = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get_mut(index) {
            lock.to = Some(to);
        }
    }

    pub fn all(&self) -> Vec<Lock> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is locked now.
    pub fn held(&self) -> Vec<Locked> {
        let locks = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // The newest are at the end, and few are held at once.
        let held = locks.iter().rev().take(100).filter(|lock| lock.to.is_none());
        held.flat_map(|lock| lock.locked.iter().copied()).collect()
    }
}
