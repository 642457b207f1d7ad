//! Rows that are matches, by the rules of the endpoint.

use std::fmt;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::sync::mpsc;

use super::file::{Batch, Cells, FileError, Record};
use super::{ImportError, Observer, Summary, refusal};
use crate::db::rehearsal::Rehearsal;
use crate::domain::{CuRefNo, Email, Notice};
use crate::matching::{self, Change, Customer, Match, MatchError, Matcher, Outcome};

/// Matches that wait for the writer at the same time: as many as it takes at once.
const IN_FLIGHT: usize = 256;

/// A row. A blank notice is none, which keeps the one that is there: a file cannot clear a notice.
pub struct MatchRow {
    manager: CuRefNo,
    customer: Customer,
    notice: Option<Notice>,
}

impl Record for MatchRow {
    const COLUMNS: &'static [&'static str] =
        &["managerCuRefNo", "customerCuRefNo", "customerEmail", "notice"];
    const REQUIRED: &'static [&'static [&'static str]] =
        &[&["managerCuRefNo"], &["customerCuRefNo", "customerEmail"]];

    fn parse(cells: &Cells<'_>) -> Result<Self, String> {
        let manager = cells.parse::<CuRefNo>("managerCuRefNo")?.ok_or("it has no managerCuRefNo")?;
        let cu_ref_no = cells.parse::<CuRefNo>("customerCuRefNo")?;
        // Valid even where the reference decides.
        let email = cells.parse::<Email>("customerEmail")?;
        let customer = cu_ref_no
            .map(Customer::CuRefNo)
            .or(email.map(Customer::Email))
            .ok_or("it has neither a customerCuRefNo nor a customerEmail")?;
        Ok(Self { manager, customer, notice: cells.parse("notice")? })
    }
}

impl MatchRow {
    fn of(&self, organisation_id: i64) -> Match {
        Match {
            organisation_id,
            manager: self.manager.clone(),
            customer: self.customer.clone(),
            notice: self.notice.clone(),
        }
    }
}

/// How many rows came to what.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named like the variants of `matching::Change`")]
pub struct Changes {
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub reactivated: u64,
    /// Guests for addresses that nobody had.
    pub customers_created: u64,
}

impl super::Changes for Changes {
    type Outcome = Outcome;

    fn count(&mut self, outcome: Outcome) {
        match outcome.change {
            Change::Created => self.created += 1,
            Change::Updated => self.updated += 1,
            Change::Unchanged => self.unchanged += 1,
            Change::Reactivated => self.reactivated += 1,
        }
        self.customers_created += u64::from(outcome.customer_created);
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, updated, unchanged, reactivated, customers_created } = self;
        write!(
            f,
            "{created} created, {updated} updated, {unchanged} unchanged, {reactivated} reactivated, \
             {customers_created} new guest(s)"
        )
    }
}

/// Where the matches go.
pub enum Target {
    /// Through the door that every match takes.
    Matcher(Matcher),
    /// Nowhere, after all.
    Rehearsal(Rehearsal),
}

/// Imports all rows, and counts them.
pub async fn import(
    mut target: Target,
    organisation_id: i64,
    rows: mpsc::Receiver<Result<Batch<MatchRow>, FileError>>,
    summary: &mut Summary<Changes>,
    observer: &mut impl Observer,
) -> Result<(), ImportError> {
    super::import(rows, summary, observer, async |rows: &[&MatchRow]| {
        let matches = rows.iter().map(|row| row.of(organisation_id)).collect();
        let results = target.take(organisation_id, matches).await?;
        Ok(results.into_iter().map(verdict).collect::<Result<_, _>>()?)
    })
    .await?;
    if let Target::Rehearsal(rehearsal) = target {
        rehearsal.close().await?;
    }
    Ok(())
}

impl Target {
    /// The results in the order of the matches, which is the order in which they take effect.
    async fn take(
        &mut self,
        organisation_id: i64,
        matches: Vec<Match>,
    ) -> Result<Vec<Result<Outcome, MatchError>>, ImportError> {
        match self {
            // Futures that are polled first in the order of the stream, and a match joins the queue when it is.
            Self::Matcher(matcher) => Ok(stream::iter(matches)
                .map(|wanted| matcher.submit(wanted))
                .buffered(IN_FLIGHT)
                .collect()
                .await),
            Self::Rehearsal(rehearsal) => {
                let managers: Vec<_> = matches.iter().map(|wanted| wanted.manager.as_str()).collect();
                let cu_ref_nos: Vec<_> = matches.iter().map(|wanted| wanted.customer.cu_ref_no()).collect();
                let emails: Vec<_> = matches.iter().map(|wanted| wanted.customer.email()).collect();
                let references: Vec<_> =
                    managers.iter().copied().chain(cu_ref_nos.iter().flatten().copied()).collect();
                let addresses: Vec<_> = emails.iter().flatten().copied().collect();
                rehearsal.copy_customers(organisation_id, &references, &addresses).await?;
                rehearsal.copy_relations(organisation_id, &managers, &cu_ref_nos, &emails).await?;
                Ok(matching::rehearse(rehearsal.connection(), &matches).await)
            }
        }
    }
}

/// What the row is answered, unless the import cannot go on.
fn verdict(result: Result<Outcome, MatchError>) -> Result<Result<Outcome, String>, MatchError> {
    match result {
        Ok(outcome) => Ok(Ok(outcome)),
        Err(error @ (MatchError::CustomerNotFound(_) | MatchError::SameCustomer)) => {
            Ok(Err(error.to_string()))
        }
        Err(MatchError::Database(error)) => refusal(&error).map(Err).ok_or(MatchError::Database(error)),
        Err(error @ MatchError::Busy) => Err(error),
    }
}
