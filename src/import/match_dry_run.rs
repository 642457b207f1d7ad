//! What matches would do. Only those that change something are written, to copies of what they change.

use std::iter;

use super::relation_change::{RelationChange, RowResult, row_result};
use super::relation_row::RelationRow;
use super::{ImportError, ended_relations};
use crate::db;
use crate::db::dry_run::{DryRun, Finding, MatchColumns};
use crate::domain::{Change, Match, Matched, NamedCustomer, Notice};
use crate::group_commit::{self, WriteError};

type MatchResult = Result<Matched, WriteError>;

/// The results come in the order of the rows, which are active.
pub(super) async fn write(
    dry_run: &mut DryRun,
    organisation_id: i64,
    rows: &[&RelationRow],
) -> Result<Vec<RowResult>, ImportError> {
    let matches: Vec<_> =
        rows.iter().flat_map(|row| iter::once(row.wanted.clone()).chain(row.reversed())).collect();
    let mut results = write_matches(dry_run, organisation_id, &matches).await?.into_iter();
    let mut next = || results.next().unwrap_or(Err(WriteError::TimedOut));
    let results = rows.iter().map(|row| {
        let (first, second) = (next(), row.reversed().map(|_| next()));
        row_result(first.and_then(|first| {
            Ok(match second {
                None => first.into(),
                Some(second) => RelationChange::of_both(first, second?),
            })
        }))
    });
    Ok(results.collect::<Result<_, _>>()?)
}

/// The same for rows that are to be ended, which are about different pairs.
pub(super) async fn end(
    dry_run: &mut DryRun,
    organisation_id: i64,
    rows: &[&RelationRow],
) -> sqlx::Result<Vec<RowResult>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let columns = columns(rows.iter().map(|row| &row.wanted));
    let named: Vec<_> = columns.managers.iter().chain(columns.cu_ref_nos.iter().flatten()).copied().collect();
    dry_run.copy_customers(organisation_id, &named, &[]).await?;
    dry_run.copy_relations(organisation_id, &columns).await?;
    let mut target = ended_relations::Target::DryRun(dry_run.connection());
    ended_relations::write(&mut target, organisation_id, rows).await
}

/// The results come in the order of the matches.
///
/// As writers do, it writes the first match of each pair in one statement with all others. Only what that leaves is written one
/// match at a time: further matches of a pair, or all if the database rejects one of them.
async fn write_matches(
    dry_run: &mut DryRun,
    organisation_id: i64,
    matches: &[Match],
) -> sqlx::Result<Vec<MatchResult>> {
    let found = dry_run.find(organisation_id, &columns(matches)).await?;
    let mut results: Vec<_> =
        matches.iter().zip(&found).map(|(wanted, found)| result(wanted, found)).collect();
    for isolated in [false, true] {
        let (left, wanted): (Vec<_>, Vec<_>) =
            results.iter_mut().zip(matches).filter(|(result, _)| result.is_none()).unzip();
        if wanted.is_empty() {
            break;
        }
        let columns = columns(wanted.iter().copied());
        if isolated {
            // It looks for the customers; a whole batch relies on foreign keys, which the copies do not have.
            let named: Vec<_> =
                columns.managers.iter().chain(columns.cu_ref_nos.iter().flatten()).copied().collect();
            dry_run.copy_customers(organisation_id, &named, &[]).await?;
        } else {
            dry_run.copy_relations(organisation_id, &columns).await?;
        }
        match group_commit::preview(dry_run.connection(), organisation_id, &wanted, isolated).await {
            Ok(previewed) => left.into_iter().zip(previewed).for_each(|(left, result)| *left = result),
            Err(error) if !isolated && db::is_about_one_row(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(results.into_iter().map(|result| result.unwrap_or(Err(WriteError::TimedOut))).collect())
}

fn columns<'a>(matches: impl IntoIterator<Item = &'a Match>) -> MatchColumns<'a> {
    let mut columns = MatchColumns::default();
    for Match { manager, customer, notice, .. } in matches {
        columns.managers.push(manager.as_str());
        columns.cu_ref_nos.push(customer.cu_ref_no());
        columns.emails.push(customer.email());
        columns.notices.push(notice.as_ref().map(Notice::as_str));
    }
    columns
}

/// The result, if nothing has to be written for it.
fn result(wanted: &Match, found: &Finding) -> Option<MatchResult> {
    match &wanted.customer {
        _ if found.unchanged => {
            Some(Ok(Matched { change: Change::Unchanged, customer_created: false, relation: None }))
        }
        _ if !found.manager_lives => Some(Err(WriteError::CustomerNotFound(wanted.manager.clone()))),
        NamedCustomer::CuRefNo(cu_ref_no) if !found.customer_lives => {
            Some(Err(WriteError::CustomerNotFound(cu_ref_no.clone())))
        }
        _ => None,
    }
}
