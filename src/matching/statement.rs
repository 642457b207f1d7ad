//! The statement that makes matches: all that wait at the same moment.

use std::collections::{HashMap, HashSet};
use std::iter;
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

/// The answer of the statement.
struct Answer {
    /// Of each match.
    manager_ids: Vec<Option<i64>>,
    customer_ids: Vec<Option<i64>>,
    /// Empty: none was.
    customers_created: Vec<bool>,
    /// Of each relation that was created or changed.
    written_organisation_ids: Vec<i64>,
    low_ids: Vec<i64>,
    high_ids: Vec<i64>,
    /// Letters, as the function has them.
    changes: Vec<i8>,
}

/// Resolves every customer, creates the guests and writes the relations, in one round trip and one implicit transaction:
/// the function of the migration `write_matches`. Matches of one organisation stand in the order in which they take effect;
/// the verdicts are in that of all.
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
    let answer = sqlx::query_as!(
        Answer,
        r#"
        select
            manager_ids as "manager_ids!: Vec<Option<i64>>",
            customer_ids as "customer_ids!: Vec<Option<i64>>",
            customers_created as "customers_created!",
            written_organisation_ids as "written_organisation_ids!",
            low_ids as "low_ids!",
            high_ids as "high_ids!",
            changes as "changes!"
        from write_matches($1, $2, $3, $4, $5, $6, $7)
        "#,
        &organisation_ids,
        &managers as &[&str],
        &cu_ref_nos as &[Option<&str>],
        &emails as &[Option<&str>],
        &guests as &[Option<String>],
        &notices as &[Option<&str>],
        patience.as_setting(),
    )
    .fetch_one(connection)
    .await?;
    Ok(answer.verdicts(matches))
}

/// An organisation and two customers, the lower id first.
type Pair = (i64, i64, i64);

impl Answer {
    fn verdicts(self, matches: &[&Match]) -> Vec<Verdict> {
        let changes = self.changes();
        let mut pairs = HashSet::with_capacity(matches.len());
        let created = self.customers_created.into_iter().chain(iter::repeat(false));
        let found = self.manager_ids.into_iter().zip(self.customer_ids).zip(created);
        let verdict = |(wanted, ((manager_id, customer_id), customer_created)): (&&Match, _)| {
            let (manager_id, customer_id) = match both(wanted, manager_id, customer_id) {
                Ok(ids) => ids,
                Err(verdict) => return verdict,
            };
            let pair = (wanted.organisation_id, manager_id.min(customer_id), manager_id.max(customer_id));
            if !pairs.insert(pair) {
                return Verdict::Deferred;
            }
            let change = changes.get(&pair).copied().unwrap_or(Change::Unchanged);
            Verdict::Done(Ok(Outcome { change, customer_created, manager_id, customer_id }))
        };
        matches.iter().zip(found).map(verdict).collect()
    }

    /// What happened to each relation that was created or changed.
    fn changes(&self) -> HashMap<Pair, Change> {
        let pairs = self.written_organisation_ids.iter().zip(&self.low_ids).zip(&self.high_ids);
        let pairs = pairs.map(|((&organisation_id, &low_id), &high_id)| (organisation_id, low_id, high_id));
        let changes = self.changes.iter().map(|change| match u8::try_from(*change) {
            Ok(b'c') => Change::Created,
            Ok(b'r') => Change::Reactivated,
            _ => Change::Updated,
        });
        pairs.zip(changes).collect()
    }
}

/// The two customers of a match, if they are there and two.
fn both(wanted: &Match, manager_id: Option<i64>, customer_id: Option<i64>) -> Result<(i64, i64), Verdict> {
    let not_found = |cu_ref_no: &CuRefNo| Verdict::Done(Err(MatchError::CustomerNotFound(cu_ref_no.clone())));
    let manager_id = manager_id.ok_or_else(|| not_found(&wanted.manager))?;
    let customer_id = customer_id.ok_or_else(|| match &wanted.customer {
        Customer::CuRefNo(cu_ref_no) => not_found(cu_ref_no),
        // Nobody has the address although it was just seen or given: the next statement tells.
        Customer::Email(_) => Verdict::Deferred,
    })?;
    if manager_id == customer_id {
        return Err(Verdict::Done(Err(MatchError::SameCustomer)));
    }
    Ok((manager_id, customer_id))
}
