//! A write that a request waits for.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{WriteError, WriteTimeouts};
use crate::db::write_batch::{MatchAnswer, MatchResult, OtherAnswer};
use crate::domain::{
    Change, CuRefNo, Customer, Match, Matched, NamedCustomer, Notice, Precondition, ProfileUpdate,
    Registered, Registration, Relation, SecretHash, Unmatch, Unmatched, Updated,
};
use crate::server_timing::Steps;

/// Where the result goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// The first pause of a blocked write; it doubles with each attempt, up to [`MAX_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_millis(500);

/// In the queue, in a batch, or blocked.
pub struct PendingWrite {
    pub(super) organisation_id: i64,
    /// Another attempt may be made until then.
    attempt_until: Instant,
    /// An attempt may take effect until then.
    deadline: Instant,
    /// Attempts that met a lock.
    blocked: u32,
    /// When it was submitted, until it is in a batch for the first time.
    queued_at: Option<Instant>,
    steps: Option<Steps>,
    pub(super) request: Request,
}

/// What is to be written.
pub(super) enum Request {
    Match(Match, Precondition, Reply<Matched>),
    Unmatch(Unmatch, Precondition, Reply<Unmatched>),
    Register(Registration, Reply<Registered>),
    Update(ProfileUpdate, Reply<Customer>),
    /// Registers the customer if need be, and opens a session with this hash.
    OpenIdentity(Registration, SecretHash, Reply<()>),
    EndIdentity(SecretHash, Reply<bool>),
}

/// What an attempt came to for one write.
pub(super) enum Verdict<T> {
    Final(Result<T, WriteError>),
    Deferred,
    Blocked,
}

/// What is left to do with a write after an attempt.
pub(super) enum Unfinished {
    /// It belongs into the next batch.
    Deferred(PendingWrite),
    /// Another transaction holds a lock that it needs.
    Blocked(PendingWrite),
}

impl PendingWrite {
    pub(super) fn new(organisation_id: i64, now: Instant, timeouts: WriteTimeouts, request: Request) -> Self {
        let (attempt_until, deadline) = (now + timeouts.attempt, now + timeouts.effect);
        let steps = Steps::of_request();
        Self { organisation_id, attempt_until, deadline, blocked: 0, queued_at: Some(now), steps, request }
    }

    /// How long it has waited for its first batch; `None` from the second on.
    pub(super) fn end_wait(&mut self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.queued_at.take()?);
        self.record("queue", waited);
        Some(waited)
    }

    /// Adds to a step of its request.
    pub(super) fn record(&self, step: &'static str, took: Duration) {
        if let Some(steps) = &self.steps {
            steps.record(step, took);
        }
    }

    /// No attempt of this write takes effect after this moment.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether there is no time for another attempt.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        now > self.attempt_until
    }

    /// How long to wait before the next attempt at a write that has just met a lock.
    pub(super) fn back_off(&mut self) -> Duration {
        let pause = FIRST_BACKOFF.saturating_mul(1 << self.blocked.min(10)).min(MAX_BACKOFF);
        self.blocked += 1;
        pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// Whether no request waits for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        match &self.request {
            Request::Match(_, _, reply) => reply.is_closed(),
            Request::Unmatch(_, _, reply) => reply.is_closed(),
            Request::Register(_, reply) => reply.is_closed(),
            Request::OpenIdentity(_, _, reply) => reply.is_closed(),
            Request::Update(_, reply) => reply.is_closed(),
            Request::EndIdentity(_, reply) => reply.is_closed(),
        }
    }

    /// Replies with an error. A request that has left needs no reply.
    pub(super) fn fail(self, error: WriteError) {
        let _ = match self.request {
            Request::Match(_, _, reply) => reply.send(Err(error)).is_ok(),
            Request::Unmatch(_, _, reply) => reply.send(Err(error)).is_ok(),
            Request::Register(_, reply) => reply.send(Err(error)).is_ok(),
            Request::OpenIdentity(_, _, reply) => reply.send(Err(error)).is_ok(),
            Request::Update(_, reply) => reply.send(Err(error)).is_ok(),
            Request::EndIdentity(_, reply) => reply.send(Err(error)).is_ok(),
        };
    }

    /// For the function `write_each`.
    pub(super) fn to_json(&self) -> Value {
        let (operation, mut value) = match &self.request {
            Request::Match(wanted, precondition, _) => {
                return match_to_json(self.organisation_id, wanted, precondition);
            }
            Request::Unmatch(unmatch, precondition, _) => {
                let mut value = json!(precondition);
                value["manager"] = json!(unmatch.manager);
                value["customer"] = json!(unmatch.customer);
                value["represented"] = json!(unmatch.representation);
                ("unmatch", value)
            }
            Request::Register(registration, _) => ("register", json!(registration)),
            Request::Update(update, _) => ("update", json!(update)),
            Request::OpenIdentity(registration, hash, _) => {
                let mut value = json!(registration);
                value["hash"] = json!(hash.to_hex());
                ("open_identity", value)
            }
            Request::EndIdentity(hash, _) => ("end_identity", json!({ "hash": hash.to_hex() })),
        };
        value["operation"] = json!(operation);
        value["organisation_id"] = json!(self.organisation_id);
        value
    }

    /// Replies to a match, unless it is unfinished.
    pub(super) fn finish_match(self, verdict: Verdict<Matched>) -> Option<Unfinished> {
        match (verdict, self.request) {
            (Verdict::Final(result), Request::Match(_, _, reply)) => {
                let _ = reply.send(result);
                None
            }
            (Verdict::Final(_), _) => None,
            (Verdict::Deferred, request) => Some(Unfinished::Deferred(Self { request, ..self })),
            (Verdict::Blocked, request) => Some(Unfinished::Blocked(Self { request, ..self })),
        }
    }

    /// Replies to one of the others, unless it is unfinished.
    pub(super) fn finish_other(self, answer: OtherAnswer) -> Option<Unfinished> {
        if let Request::Match(wanted, ..) = &self.request {
            let verdict = verdict_of_other(wanted, answer);
            return self.finish_match(verdict);
        }
        let done = match answer {
            OtherAnswer::Done(done) => done,
            OtherAnswer::Blocked(_) => return Some(Unfinished::Blocked(self)),
            OtherAnswer::Failed(reason) => {
                self.fail(WriteError::Rejected(reason));
                return None;
            }
        };
        match self.request {
            Request::Match(..) => {}
            Request::Unmatch(unmatch, _, reply) => {
                let _ = reply.send(unmatched(&unmatch, done));
            }
            Request::Register(_, reply) => {
                let _ = reply.send(serde_json::from_value(done).map_err(unreadable));
            }
            Request::Update(update, reply) => {
                let _ = reply.send(match serde_json::from_value(done) {
                    Ok(Updated::Updated(customer)) => Ok(customer),
                    Ok(Updated::EmailTaken(owner)) => Err(WriteError::EmailTaken(owner)),
                    Ok(Updated::NotFound) => Err(match update.customer {
                        NamedCustomer::CuRefNo(cu_ref_no) => WriteError::CustomerNotFound(cu_ref_no),
                        NamedCustomer::Email(email) => WriteError::EmailNotFound(email),
                    }),
                    Err(error) => Err(unreadable(error)),
                });
            }
            Request::OpenIdentity(_, _, reply) => {
                let _ = reply.send(Ok(()));
            }
            Request::EndIdentity(_, reply) => {
                let _ = reply.send(Ok(done == json!(true)));
            }
        }
        None
    }
}

/// A match for the function `write_each`. Each call proposes another reference for a guest.
pub(super) fn match_to_json(organisation_id: i64, wanted: &Match, precondition: &Precondition) -> Value {
    let mut value = json!(precondition);
    value["organisation_id"] = json!(organisation_id);
    value["operation"] = json!("match");
    value["manager"] = json!(wanted.manager);
    match &wanted.customer {
        NamedCustomer::CuRefNo(cu_ref_no) => value["customer"] = json!(cu_ref_no),
        NamedCustomer::Email(email) => {
            value["email"] = json!(email.as_str());
            value["guest"] = json!(CuRefNo::generate());
        }
    }
    value["notice"] = json!(wanted.notice.as_ref().map(Notice::as_str));
    value["represented"] = json!(wanted.representation);
    value
}

/// What the letter of a match means for it.
pub(super) fn verdict(wanted: &Match, answer: MatchAnswer) -> Verdict<Matched> {
    let MatchAnswer { result, customer_created, relation } = answer;
    let change = match (result, &wanted.customer) {
        (MatchResult::Created, _) => Change::Created,
        (MatchResult::Reactivated, _) => Change::Reactivated,
        (MatchResult::Updated, _) => Change::Updated,
        (MatchResult::Unchanged, _) => Change::Unchanged,
        (MatchResult::SameCustomer, _) => return Verdict::Final(Err(WriteError::SameCustomer)),
        (MatchResult::ManagerNotFound, _) => return Verdict::Final(Err(not_found(&wanted.manager))),
        (MatchResult::CustomerNotFound, NamedCustomer::CuRefNo(cu_ref_no)) => {
            return Verdict::Final(Err(not_found(cu_ref_no)));
        }
        (MatchResult::PreconditionFailed, _) => return Verdict::Final(Err(precondition_failed(relation))),
        (MatchResult::Deferred, _) => return Verdict::Deferred,
        (MatchResult::CustomerNotFound | MatchResult::Unknown, _) => {
            return Verdict::Final(Err(WriteError::Rejected("the answer is none of a match".into())));
        }
    };
    Verdict::Final(Ok(Matched { change, customer_created, relation }))
}

/// The same for a match that is one of the others.
pub(super) fn verdict_of_other(wanted: &Match, answer: OtherAnswer) -> Verdict<Matched> {
    match answer {
        OtherAnswer::Done(done) => match serde_json::from_value(done) {
            Ok(answer) => verdict(wanted, answer),
            Err(error) => Verdict::Final(Err(unreadable(error))),
        },
        OtherAnswer::Blocked(_) => Verdict::Blocked,
        OtherAnswer::Failed(reason) => Verdict::Final(Err(WriteError::Rejected(reason))),
    }
}

fn unmatched(unmatch: &Unmatch, done: Value) -> Result<Unmatched, WriteError> {
    #[derive(Deserialize)]
    struct Answer {
        result: char,
        relation: Option<Relation>,
    }
    let Answer { result, relation } = serde_json::from_value(done).map_err(unreadable)?;
    match result {
        'e' => Ok(Unmatched { relation }),
        'm' => Err(not_found(&unmatch.manager)),
        'k' => Err(not_found(&unmatch.customer)),
        'p' => Err(precondition_failed(relation)),
        _ => Err(WriteError::RelationNotFound),
    }
}

fn not_found(cu_ref_no: &CuRefNo) -> WriteError {
    WriteError::CustomerNotFound(cu_ref_no.clone())
}

fn precondition_failed(current: Option<Relation>) -> WriteError {
    WriteError::PreconditionFailed(current.map(Box::new))
}

fn unreadable(error: serde_json::Error) -> WriteError {
    WriteError::Rejected(error.to_string())
}
