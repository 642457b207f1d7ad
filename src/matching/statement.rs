//! The statement that makes matches: all that wait at the same moment.

use std::time::Duration;

use sqlx::PgConnection;

use super::{Change, Customer, Match, MatchError, Outcome};
use crate::db::LOCK_TIMEOUT;
use crate::domain::{CuRefNo, Notice};

/// What the statement came to for one match.
pub(super) enum Verdict {
    /// Done, durable and final, one way or the other.
    Done(Result<Outcome, MatchError>),
    /// Another match of the same pair, earlier in the batch, was made; this one is for the next statement.
    Deferred,
}

/// How long a lock is waited for.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// Others wait too, who have nothing to do with it.
    Short,
    /// As long as any statement of ours does.
    Long,
}

impl Patience {
    fn as_setting(self) -> String {
        match self {
            Self::Short => SHORT_LOCK_TIMEOUT,
            Self::Long => LOCK_TIMEOUT,
        }
        .as_millis()
        .to_string()
    }
}

/// Far longer than a match holds a lock, far shorter than a caller waits.
const SHORT_LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// A row of the answer.
struct Row {
    manager_id: Option<i64>,
    customer_id: Option<i64>,
    customer_created: bool,
    turn: i64,
    version: Option<i64>,
    matched_now: Option<bool>,
}

/// Resolves every customer, creates the guests and writes the relations, in one round trip and one implicit transaction:
/// the function of the migration `match_customers`. Matches of one organisation stand together. The verdicts come in the
/// order of the matches, which is the order in which those of an organisation take effect.
pub(super) async fn execute(
    connection: &mut PgConnection,
    matches: &[&Match],
    patience: Patience,
) -> sqlx::Result<Vec<Verdict>> {
    let organisation_ids: Vec<i64> = matches.iter().map(|wanted| wanted.organisation_id).collect();
    let managers: Vec<&str> = matches.iter().map(|wanted| wanted.manager.as_str()).collect();
    let cu_ref_nos: Vec<Option<&str>> = matches.iter().map(|wanted| wanted.customer.cu_ref_no()).collect();
    let emails: Vec<Option<&str>> = matches.iter().map(|wanted| wanted.customer.email()).collect();
    // A reference for the guest, should the address be new.
    let guests: Vec<Option<String>> =
        emails.iter().map(|email| email.map(|_| CuRefNo::generate().to_string())).collect();
    let notices: Vec<Option<&str>> =
        matches.iter().map(|wanted| wanted.notice.as_ref().map(Notice::as_str)).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"
        select
            manager_id, customer_id, customer_created as "customer_created!", turn as "turn!", version, matched_now
        from match_customers($1, $2, $3, $4, $5, $6, $7)
        "#,
        &organisation_ids,
        &managers as &[&str],
        &cu_ref_nos as &[Option<&str>],
        &emails as &[Option<&str>],
        &guests as &[Option<String>],
        &notices as &[Option<&str>],
        patience.as_setting(),
    )
    .fetch_all(connection)
    .await?;
    Ok(matches.iter().zip(rows).map(|(wanted, row)| verdict(wanted, &row)).collect())
}

fn verdict(wanted: &Match, row: &Row) -> Verdict {
    let not_found = |cu_ref_no: &CuRefNo| Verdict::Done(Err(MatchError::CustomerNotFound(cu_ref_no.clone())));
    let Some(manager_id) = row.manager_id else { return not_found(&wanted.manager) };
    let customer_id = match (row.customer_id, &wanted.customer) {
        (Some(id), _) => id,
        (None, Customer::CuRefNo(cu_ref_no)) => return not_found(cu_ref_no),
        // Nobody has the address although it was just seen or given: the next statement tells.
        (None, Customer::Email(_)) => return Verdict::Deferred,
    };
    if manager_id == customer_id {
        return Verdict::Done(Err(MatchError::SameCustomer));
    }
    if row.turn > 1 {
        return Verdict::Deferred;
    }
    let change = match (row.version, row.matched_now) {
        (None, _) => Change::Unchanged,
        (Some(1), _) => Change::Created,
        (Some(_), Some(true)) => Change::Reactivated,
        (Some(_), _) => Change::Updated,
    };
    Verdict::Done(Ok(Outcome { change, customer_created: row.customer_created, manager_id, customer_id }))
}
