//! The write path of the relation: one match in, one outcome out; and [`unmatch`], the way back.
//!
//! [`Matcher::submit`] is the only door of a match. Matches that wait at the same moment are written together:
//!
//! ```text
//! submit ─┐                 ┌─ takes what waits ─ one statement an organisation, one commit ─┐
//! submit ─┼─→ queue ─→ writer                                                               ├─→ to each its own outcome
//! submit ─┘                 └─ never waits for more; meanwhile the next batch comes in ──────┘
//! ```
//!
//! - **Durable**: an outcome is sent after the commit that made it, never before.
//! - **Ordered**: a queue and a writer that keeps its order, so that the last one wins as callers saw it; of two matches of
//!   one pair in a batch the second is written by the next statement ([`statement`]).
//! - **Apart**: what cannot be written fails alone ([`writer`]). Matches are idempotent: when the database lost a
//!   connection or a race, the batch is written again before anybody is answered.
//! - **Bounded**: a full queue refuses ([`admission`]); a match that waited too long is refused, one whose caller has gone
//!   is forgotten.

mod admission;
mod rehearsal;
mod statement;
mod unmatch;
mod writer;

pub use rehearsal::rehearse;
pub use unmatch::{Unmatch, UnmatchError, unmatch};

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::admission::Admission;
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
    fn named_pair(&self) -> [String; 2] {
        let mut pair = [self.manager.to_string(), self.customer.name().to_owned()];
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

/// Organisations are spread over this many writers, so that they do not wait for each other's commits. One organisation
/// has one writer: a second would only make its batches smaller.
const WRITERS: usize = 8;

/// The door of the write path. Clones share everything; with the last of them the writers end.
#[derive(Clone)]
pub struct Matcher {
    queues: [mpsc::UnboundedSender<Job>; WRITERS],
    admission: Admission,
}

impl Matcher {
    /// Starts the writers, each of which connects when its first match comes.
    pub fn start(options: &PgConnectOptions) -> Self {
        let queues = std::array::from_fn(|_| {
            let (queue, jobs) = mpsc::unbounded_channel();
            tokio::spawn(writer::run(options.clone(), jobs));
            queue
        });
        Self { queues, admission: Admission::default() }
    }

    /// Makes the match, once, however many calls ask for the same at the same time.
    pub async fn submit(&self, wanted: Match) -> Result<Outcome, MatchError> {
        let place = self.admission.enter(wanted.organisation_id).ok_or(MatchError::Busy)?;
        let (answer, outcome) = oneshot::channel();
        let job = Job { wanted, answer, since: Instant::now(), _place: place };
        // A writer ends after its last sender, so neither of these fails while there is one to ask.
        let queue = &self.queues[job.wanted.organisation_id.unsigned_abs() as usize % WRITERS];
        queue.send(job).map_err(|_| MatchError::Busy)?;
        outcome.await.map_err(|_| MatchError::Busy)?
    }
}
