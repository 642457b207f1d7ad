//! The write path of the relation: one match in, one outcome out.
//!
//! [`Matcher::submit`] is the only door. Behind it a match is one statement in its own implicit transaction
//! ([`statement`]), so an outcome is known only after its commit is durable, and a caller that goes away leaves nothing
//! half done. The statement is idempotent: when the database lost a race or a connection, the same match is made again
//! before anybody is answered.

mod statement;

use std::time::Duration;

use sqlx::PgPool;

use crate::db;
use crate::domain::{CuRefNo, Email, Notice};

/// Attempts at one match before the caller is told to come back.
const ATTEMPTS: u32 = 4;
/// The longest pause before the second attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

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

/// How the customer of a match is named.
#[derive(Debug, Clone)]
pub enum Customer {
    /// By reference: must exist.
    CuRefNo(CuRefNo),
    /// By address: a guest customer is created when nobody has it.
    Email(Email),
}

/// What a match came to; durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What happened to the relation.
    pub change: Change,
    /// Whether a guest customer was created for the address.
    pub customer_created: bool,
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
    #[error("the manager does not exist")]
    ManagerNotFound,
    /// No such customer in the organisation, or deleted.
    #[error("the customer does not exist")]
    CustomerNotFound,
    /// Both sides are the same customer.
    #[error("a customer cannot be matched with itself")]
    SameCustomer,
    /// The database did not do it, after every attempt.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The door of the write path. Clones share everything.
#[derive(Clone)]
pub struct Matcher {
    pool: PgPool,
}

impl Matcher {
    /// Writes through this pool.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Makes the match, once, however many calls ask for the same at the same time.
    pub async fn submit(&self, wanted: &Match) -> Result<Outcome, MatchError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS {
            match statement::execute(&self.pool, wanted).await {
                Err(MatchError::Database(error)) if is_worth_another_attempt(&error) => {
                    tracing::warn!(%error, "a match is tried again");
                    tokio::time::sleep(pause.mul_f64(rand::random())).await;
                    pause *= 2;
                }
                result => return result,
            }
        }
        statement::execute(&self.pool, wanted).await
    }
}

/// A pool that has no connection to give has been waited for already. A new guest's random reference may be taken.
fn is_worth_another_attempt(error: &sqlx::Error) -> bool {
    !matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
        && (db::is_transient(error) || db::violates(error, db::customer::CU_REF_NO_KEY))
}
