//! Writes rows that are matches, by the rules of the endpoint.

use std::collections::HashSet;
use std::{fmt, iter};

use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::record::{Cells, Record};
use super::{ImportError, Observer, Rows, Summary, match_dry_run};
use crate::db::dry_run::DryRun;
use crate::domain::{Change, CuRefNo, Email, Match, Matched, NamedCustomer};
use crate::group_commit::{GroupCommit, Submitter, WriteError};

/// Pending matches at the same time.
const IN_FLIGHT: usize = 256;

/// A blank notice counts as absent, which keeps the stored one: a file cannot clear a notice.
impl Record for Match {
    const COLUMNS: &'static [&'static str] =
        &["managerCuRefNo", "customerCuRefNo", "customerEmail", "notice"];
    const REQUIRED: &'static [&'static [&'static str]] =
        &[&["managerCuRefNo"], &["customerCuRefNo", "customerEmail"]];

    fn parse(cells: &Cells<'_>) -> Result<Self, String> {
        let manager = cells.parse::<CuRefNo>("managerCuRefNo")?.ok_or("it has no managerCuRefNo")?;
        let cu_ref_no = cells.parse::<CuRefNo>("customerCuRefNo")?;
        // Must be valid also where the reference decides.
        let email = cells.parse::<Email>("customerEmail")?;
        let customer = cu_ref_no
            .map(NamedCustomer::CuRefNo)
            .or(email.map(NamedCustomer::Email))
            .ok_or("it has neither a customerCuRefNo nor a customerEmail")?;
        Ok(Self { manager, customer, notice: cells.parse("notice")?, representation: false })
    }
}

/// Imported rows by what they changed.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub reactivated: u64,
    /// Guests for unknown e-mail addresses.
    pub customers_created: u64,
}

impl super::Changes for Changes {
    type Change = Matched;

    fn count(&mut self, matched: Matched) {
        match matched.change {
            Change::Created => self.created += 1,
            Change::Updated => self.updated += 1,
            Change::Unchanged => self.unchanged += 1,
            Change::Reactivated => self.reactivated += 1,
        }
        self.customers_created += u64::from(matched.customer_created);
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

pub enum Target {
    GroupCommit(GroupCommit),
    DryRun(DryRun),
}

/// Imports all rows and counts them in the summary.
pub async fn import(
    mut target: Target,
    organisation_id: i64,
    rows: Rows<Match>,
    summary: &mut Summary<Changes>,
    observer: &mut impl Observer,
) -> Result<(), ImportError> {
    super::import(rows, summary, observer, async |rows: &[&Match]| {
        let matches = rows.iter().copied().cloned().collect();
        let results = target.write(organisation_id, matches).await?;
        Ok(results.into_iter().map(row_result).collect::<Result<_, _>>()?)
    })
    .await?;
    if let Target::DryRun(dry_run) = target {
        dry_run.close().await?;
    }
    Ok(())
}

impl Target {
    /// Returns the results in the order of the matches.
    async fn write(
        &mut self,
        organisation_id: i64,
        matches: Vec<Match>,
    ) -> Result<Vec<Result<Matched, WriteError>>, ImportError> {
        match self {
            Self::GroupCommit(group_commit) => {
                Ok(write_in_order(group_commit, organisation_id, matches).await)
            }
            Self::DryRun(dry_run) => Ok(match_dry_run::write(dry_run, organisation_id, &matches).await?),
        }
    }
}

/// Writes matches so that those of one pair take effect in the order of the file: the order of pending writes is free, so the
/// next match of a pair is submitted after the reply to the last.
async fn write_in_order(
    group_commit: &GroupCommit,
    organisation_id: i64,
    matches: Vec<Match>,
) -> Vec<Result<Matched, WriteError>> {
    let mut results = Vec::with_capacity(matches.len());
    let mut matches = matches.into_iter().peekable();
    while matches.peek().is_some() {
        let mut run = Run::default();
        let run: Vec<_> = iter::from_fn(|| matches.next_if(|wanted| run.takes(wanted))).collect();
        results.extend(
            stream::iter(run)
                .map(|wanted| group_commit.match_customers(Submitter::new(organisation_id), wanted))
                .buffered(IN_FLIGHT)
                .collect::<Vec<_>>()
                .await,
        );
    }
    results
}

/// Matches of different pairs, as far as their names tell.
#[derive(Default)]
struct Run {
    pairs: HashSet<[String; 2]>,
    /// The customers of pairs that are named by two references.
    referenced: HashSet<String>,
    /// The managers of pairs whose customer is named by e-mail address. The address may be that of any customer.
    managers_by_email: HashSet<String>,
}

impl Run {
    /// Takes the match into the run, unless its pair may be in it already.
    fn takes(&mut self, wanted: &Match) -> bool {
        let manager = wanted.manager.as_str();
        let known = match wanted.customer.cu_ref_no() {
            Some(customer) => [manager, customer].iter().any(|name| self.managers_by_email.contains(*name)),
            None => self.referenced.contains(manager),
        };
        if known || !self.pairs.insert(wanted.named_pair().map(str::to_owned)) {
            return false;
        }
        match wanted.customer.cu_ref_no() {
            Some(customer) => self.referenced.extend([manager.to_owned(), customer.to_owned()]),
            None => _ = self.managers_by_email.insert(manager.to_owned()),
        }
        true
    }
}

/// The row's result, or the error that stops the import.
fn row_result(result: Result<Matched, WriteError>) -> Result<Result<Matched, String>, WriteError> {
    match result {
        Ok(matched) => Ok(Ok(matched)),
        Err(
            error @ (WriteError::CustomerNotFound(_) | WriteError::SameCustomer | WriteError::Rejected(_)),
        ) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}
