//! Group commit: one pending write in, one result out. Every write that a request asks for goes this way.
//!
//! Writes that are pending at the same moment are written together:
//!
//! ```text
//! request ─┐                        ┌─ takes a batch from all queues ─ one round trip, one commit ─┐
//! request ─┼─→ queue ─→ writer task ┤                                                              ├─→ a reply to each
//! request ─┘  one per organisation  └─ never waits for more; the next batch forms meanwhile ───────┘
//! ```
//!
//! - **Durable**: a reply is sent after the commit, never before.
//! - **Exactly once**: a batch and its receipt commit together. A writer that lost the answer reads what its attempt did
//!   ([`connection`]).
//! - **Fenced**: after a reply or a timeout no attempt takes effect. A writer fences a connection before it writes the same
//!   again, and a batch carries the database time after which it must not be written.
//! - **Conditional**: a write with a condition is in a batch as any other. Its condition is looked at under the lock of the row.
//! - **Isolated**: no batch waits for a lock. A write that meets one is requeued with a backoff ([`queue`]), and holds no
//!   writer, no connection and no capacity of its organisation meanwhile.
//! - **Fair**: a batch takes from all organisations as evenly as they allow ([`queue`]).
//! - **Apart**: on a cluster each node has queues and writers of its own ([`lanes`]).
//! - **Bounded**: a full queue rejects; a request is answered within [`ANSWER_WITHIN`].
//!
//! Of one pair, the last acknowledged write wins: writes that are pending at the same time overlap, so their order is free. A
//! batch keeps that of their submission all the same ([`batch`]).

mod batch;
mod connection;
mod counters;
mod lanes;
mod pending_write;
mod queue;
mod writer;

pub use batch::preview;
pub use counters::Counters;
pub use pending_write::PendingWrite;
pub use queue::TenantWrites;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use self::lanes::Lanes;
use self::pending_write::{Reply, Request};
use crate::db::placement::Placements;
use crate::domain::{
    CuRefNo, Customer, Email, Match, Matched, Precondition, ProfileUpdate, Registered, Registration,
    Relation, SecretHash, Unmatch, Unmatched,
};

/// A write has its result after this time (contract §1), or before the end of its request.
const ANSWER_WITHIN: Duration = Duration::from_millis(9250);
/// Far more than this machine's clock and the database's drift apart in the time between two readings.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(250);
/// Why a write has no result. Unless it says otherwise, nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The organisation has no such customer, or it is deleted.
    #[error("customer {0} does not exist")]
    CustomerNotFound(CuRefNo),
    /// The organisation has no customer with this e-mail address.
    #[error("no customer has the e-mail address {0}")]
    EmailNotFound(Email),
    /// The e-mail address is that of this customer.
    #[error("customer {0} has the e-mail address")]
    EmailTaken(CuRefNo),
    #[error("a customer cannot be matched with itself")]
    SameCustomer,
    /// The two were never matched.
    #[error("the relation does not exist")]
    RelationNotFound,
    /// The condition of the write does not hold. With the relation as it is, if there is one.
    #[error("the relation has another version")]
    PreconditionFailed(Option<Box<Relation>>),
    #[error("too many writes are pending")]
    Overloaded,
    /// It was not written in time: a row is locked, or the database is unavailable. Where the database's answer was lost, it
    /// may have been written before this error; after it, it is not.
    #[error("the write did not finish in time")]
    TimedOut,
    /// The database rejects this write, whatever is tried again: SQLSTATE and message.
    #[error("the database rejects it: {0}")]
    Rejected(String),
    /// The database rejects every write.
    #[error(transparent)]
    Database(Arc<sqlx::Error>),
}

/// Where the result of a write arrives. Its error is not seen while a [`GroupCommit`] is left: the writers reply to each write.
pub type WriteResult<T> = oneshot::Receiver<Result<T, WriteError>>;

/// For which organisation a write is, and when its result is needed.
#[derive(Debug, Clone, Copy)]
pub struct Submitter {
    organisation_id: i64,
    answer_by: Instant,
}

impl Submitter {
    /// Of a write that is submitted now, by nothing that ends before it.
    pub fn new(organisation_id: i64) -> Self {
        Self { organisation_id, answer_by: Instant::now() + ANSWER_WITHIN }
    }

    /// Of a request that is answered 503 at that time at the latest: its write must not take effect later.
    pub fn ending_at(self, end: Instant) -> Self {
        Self { answer_by: self.answer_by.min(end), ..self }
    }

    /// A match to be queued with others by [`GroupCommit::push_many`].
    pub fn pending_match(self, wanted: Match) -> (PendingWrite, WriteResult<Matched>) {
        self.pending(|reply| Request::Match(wanted, Precondition::default(), reply))
    }

    /// An unmatch to be queued with others by [`GroupCommit::push_many`].
    pub fn pending_unmatch(self, unwanted: Unmatch) -> (PendingWrite, WriteResult<Unmatched>) {
        self.pending(|reply| Request::Unmatch(unwanted, Precondition::default(), reply))
    }

    fn pending<T>(self, request: impl FnOnce(Reply<T>) -> Request) -> (PendingWrite, WriteResult<T>) {
        let now = Instant::now();
        let (reply, result) = oneshot::channel();
        let timeouts = WriteTimeouts::new(self.answer_by.saturating_duration_since(now));
        (PendingWrite::new(self.organisation_id, now, timeouts, request(reply)), result)
    }
}

/// What may happen to a write, and until when after it was submitted.
#[derive(Debug, Clone, Copy)]
struct WriteTimeouts {
    /// Another attempt may be made.
    attempt: Duration,
    /// An attempt may take effect.
    effect: Duration,
}

impl WriteTimeouts {
    fn new(answer: Duration) -> Self {
        let effect = answer.saturating_sub(CLOCK_TOLERANCE.min(answer / 10));
        // An attempt needs a second as a rule.
        let attempt = effect.saturating_sub(Duration::from_secs(1).min(effect / 2));
        Self { attempt, effect }
    }
}

/// The handle of the writers. Clones share everything; with the last of them the writers end.
#[derive(Clone)]
pub struct GroupCommit {
    lanes: Arc<Lanes>,
    counters: Counters,
}

impl GroupCommit {
    /// No connection is open when this returns.
    pub fn start(options: &PgConnectOptions, placements: Placements) -> Self {
        let counters = Counters::default();
        let lanes = Lanes::new(options.clone(), placements, counters.clone());
        Self { lanes: Arc::new(lanes), counters }
    }

    /// What the writers have counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Writes that are queued or in flight.
    pub fn depth(&self) -> usize {
        self.lanes.depth()
    }

    /// Writes that wait for the end of a lock.
    pub fn blocked(&self) -> usize {
        self.lanes.blocked()
    }

    /// The writes of each organisation that has any.
    pub fn tenants(&self) -> Vec<TenantWrites> {
        self.lanes.tenants()
    }

    /// Makes two customers' relation exist, active (contract §1).
    pub async fn match_customers(&self, submitter: Submitter, wanted: Match) -> Result<Matched, WriteError> {
        self.match_customers_if(submitter, wanted, Precondition::default()).await
    }

    /// The same if the relation meets the condition then.
    pub async fn match_customers_if(
        &self,
        submitter: Submitter,
        wanted: Match,
        precondition: Precondition,
    ) -> Result<Matched, WriteError> {
        self.submit(submitter, |reply| Request::Match(wanted, precondition, reply)).await
    }

    /// Ends a relation if it meets the condition; one that has ended before is left as it is (contract §2).
    pub async fn unmatch_customers(
        &self,
        submitter: Submitter,
        unwanted: Unmatch,
        precondition: Precondition,
    ) -> Result<Unmatched, WriteError> {
        self.submit(submitter, |reply| Request::Unmatch(unwanted, precondition, reply)).await
    }

    /// Registers a customer or completes the profile of the one that has the e-mail address (contract §2).
    pub async fn register_customer(
        &self,
        submitter: Submitter,
        registration: Registration,
    ) -> Result<Registered, WriteError> {
        self.submit(submitter, |reply| Request::Register(registration, reply)).await
    }

    /// Changes the profile of a customer (contract §2).
    pub async fn update_customer(
        &self,
        submitter: Submitter,
        update: ProfileUpdate,
    ) -> Result<Customer, WriteError> {
        self.submit(submitter, |reply| Request::Update(update, reply)).await
    }

    /// Opens a session for the customer, who is registered first if need be (contract §2).
    pub async fn open_identity(
        &self,
        submitter: Submitter,
        registration: Registration,
        hash: SecretHash,
    ) -> Result<(), WriteError> {
        self.submit(submitter, |reply| Request::OpenIdentity(registration, hash, reply)).await
    }

    /// Ends a session. False when there is none.
    pub async fn end_identity(&self, submitter: Submitter, hash: SecretHash) -> Result<bool, WriteError> {
        self.submit(submitter, |reply| Request::EndIdentity(hash, reply)).await
    }

    /// To be called before [`push_many`](Self::push_many): on a cluster, writes of an organisation that is not located wait for
    /// writes of other nodes.
    pub async fn locate(&self, organisation_id: i64) {
        self.lanes.locate(organisation_id).await;
    }

    /// Queues writes from the front, as many as there is capacity for. They are of one organisation.
    pub fn push_many(&self, writes: &mut VecDeque<PendingWrite>) {
        self.lanes.push_many(writes);
    }

    async fn submit<T>(
        &self,
        submitter: Submitter,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, WriteError> {
        self.lanes.locate(submitter.organisation_id).await;
        let (write, result) = submitter.pending(request);
        self.lanes.push(write)?;
        match timeout_at(submitter.answer_by, result).await {
            Ok(Ok(result)) => result,
            // Not reached while a handle is left: the writers end after the last of them.
            Ok(Err(_)) => Err(WriteError::Overloaded),
            Err(_) => Err(WriteError::TimedOut),
        }
    }
}
