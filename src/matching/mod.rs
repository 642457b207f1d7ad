//! The write path of the relation: one match in, one outcome out; and [`unmatch`], the way back.
//!
//! [`Matcher::submit`] is the only door of a match. Matches that wait at the same moment are written together:
//!
//! ```text
//! submit ─┐                   ┌─ takes from all lines ─ one round trip, one commit ─┐
//! submit ─┼─→ queue ─→ writer ┤                                                     ├─→ to each its own outcome
//! submit ─┘  a line for each  └─ never waits for more; the next batch comes in ─────┘
//!            organisation
//! ```
//!
//! - **Durable**: an outcome is sent after the commit that made it, never before.
//! - **Ordered**: an organisation's matches keep their order and are in one batch at a time, so that the last one wins as
//!   callers saw it; of two matches of one pair in a batch the second is written by the next ([`statement`]).
//! - **Apart**: what cannot be written fails alone, and what waits for a lock leaves its neighbours ([`writer`]). Matches
//!   are idempotent: when the database lost a connection or a race, the batch is written again before anybody is answered.
//! - **Fair**: a batch takes from all organisations as evenly as they allow ([`queue`]).
//! - **In step**: when many call it takes half of them, so that the server works while the database does ([`queue`]).
//! - **Bounded**: a full queue refuses; a match that waited too long is refused, one whose caller has gone is forgotten.

mod counters;
mod queue;
mod rehearsal;
mod statement;
mod unmatch;
mod writer;

pub use counters::Counters;
pub use rehearsal::rehearse;
pub use unmatch::{Unmatch, UnmatchError, unmatch};

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::queue::Queue;
use self::writer::Job;
use crate::domain::{CuRefNo, Email, Notice};

/// A relation that somebody wants to exist.
#[derive(Debug, Clone)]
pub struct Match {
    /// Whose customers both are.
    pub organisation_id: i64,
    /// "Owner of relation".
    pub manager: CuRefNo,
    /// The other side.
    pub customer: Customer,
    /// `None` keeps the notice that is there.
    pub notice: Option<Notice>,
}

impl Match {
    /// Both sides as they are named, whichever of them is the manager.
    fn named_pair(&self) -> [&str; 2] {
        let mut pair = [self.manager.as_str(), self.customer.name()];
        pair.sort_unstable();
        pair
    }
}

/// How the customer of a match is named.
#[derive(Debug, Clone)]
pub enum Customer {
    /// By reference: must exist.
    CuRefNo(CuRefNo),
    /// By address: a guest customer is created when nobody has it.
    Email(Email),
}

impl Customer {
    fn name(&self) -> &str {
        match self {
            Self::CuRefNo(cu_ref_no) => cu_ref_no.as_str(),
            Self::Email(email) => email.as_str(),
        }
    }

    /// The reference, if that is the name.
    pub fn cu_ref_no(&self) -> Option<&str> {
        match self {
            Self::CuRefNo(cu_ref_no) => Some(cu_ref_no.as_str()),
            Self::Email(_) => None,
        }
    }

    /// The address, if that is the name.
    pub fn email(&self) -> Option<&str> {
        match self {
            Self::CuRefNo(_) => None,
            Self::Email(email) => Some(email.as_str()),
        }
    }
}

/// What a match came to; durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What happened to the relation.
    pub change: Change,
    /// Whether a guest customer was created for the address.
    pub customer_created: bool,
    /// The manager's internal id; with the next one it finds the relation.
    pub manager_id: i64,
    /// The customer's internal id.
    pub customer_id: i64,
}

/// What happened to the relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It did not exist.
    Created,
    /// It got another notice, or its other side as a second manager.
    Updated,
    /// It was there already, exactly so.
    Unchanged,
    /// It had been deactivated and is active again.
    Reactivated,
}

/// Why a match was not made; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum MatchError {
    /// No such customer in the organisation, or deleted.
    #[error("customer {0} does not exist")]
    CustomerNotFound(CuRefNo),
    /// Both sides are the same customer.
    #[error("a customer cannot be matched with itself")]
    SameCustomer,
    /// Too many matches wait already.
    #[error("too many matches are waiting")]
    Busy,
    /// The database did not do it, in all the time there was.
    #[error(transparent)]
    Database(Arc<sqlx::Error>),
}

/// Tasks that can write. Most are there for when one waits for something, a locked customer as a rule.
const WRITERS: usize = 8;
/// Of them at work at the same time, at most, while no batch is stuck.
const MAX_AT_WORK: usize = 4;

/// How many writers are at work at the same time: one for each two processors. On two, a second one made batches half as
/// large and matches dearer by a quarter (docs/performance.md).
fn at_work() -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    (processors / 2).clamp(1, MAX_AT_WORK)
}

/// The door of the write path. Clones share everything; with the last of them the writers end.
#[derive(Clone)]
pub struct Matcher {
    queue: Arc<Queue>,
    counters: Counters,
    _open: Arc<DropGuard>,
}

impl Matcher {
    /// Starts the writers, each of which connects when its first match comes.
    pub fn start(options: &PgConnectOptions) -> Self {
        let queue = Arc::new(Queue::default());
        let turns = Arc::new(Semaphore::new(at_work()));
        let closed = CancellationToken::new();
        let counters = Counters::default();
        for _ in 0..WRITERS {
            tokio::spawn(writer::run(
                options.clone(),
                queue.clone(),
                turns.clone(),
                closed.clone(),
                counters.clone(),
            ));
        }
        Self { queue, counters, _open: Arc::new(closed.drop_guard()) }
    }

    /// What the writers have counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Matches that wait or are being written.
    pub fn depth(&self) -> usize {
        self.queue.depth()
    }

    /// Makes the match, once, however many calls ask for the same at the same time.
    pub async fn submit(&self, wanted: Match) -> Result<Outcome, MatchError> {
        let (answer, outcome) = oneshot::channel();
        self.queue.enter(Job { wanted, answer, since: Instant::now() }).map_err(|_| MatchError::Busy)?;
        // The writers end after their last door, so that this does not fail while there is one to ask.
        outcome.await.map_err(|_| MatchError::Busy)?
    }
}
