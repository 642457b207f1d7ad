//! Writes rows that are relations: active ones are matches, by the rules of the endpoint.

use std::collections::HashSet;
use std::{fmt, iter};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use sqlx::PgPool;

use super::relation_change::{RelationChange, RowResult, row_result};
use super::relation_row::RelationRow;
use super::{ImportError, Observer, Rows, Summary, ended_relations, match_dry_run};
use crate::db::Layout;
use crate::db::dry_run::DryRun;
use crate::domain::Match;
use crate::group_commit::{GroupCommit, Submitter, WriteError};

/// Pending matches at the same time.
const IN_FLIGHT: usize = 256;

/// Imported rows by what they changed.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub reactivated: u64,
    pub ended: u64,
    /// Guests for unknown e-mail addresses.
    pub customers_created: u64,
}

impl super::Changes for Changes {
    type Change = RelationChange;

    fn count(&mut self, change: RelationChange) {
        match change {
            RelationChange::Created { guest } => {
                self.created += 1;
                self.customers_created += u64::from(guest);
            }
            RelationChange::Updated => self.updated += 1,
            RelationChange::Unchanged => self.unchanged += 1,
            RelationChange::Reactivated => self.reactivated += 1,
            RelationChange::Ended => self.ended += 1,
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, updated, unchanged, reactivated, ended, customers_created } = self;
        write!(
            f,
            "{created} created, {updated} updated, {unchanged} unchanged, {reactivated} reactivated, {ended} ended, \
             {customers_created} new guest(s)"
        )
    }
}

pub enum Target {
    /// The pool writes what is no match.
    Database(GroupCommit, PgPool, Layout),
    DryRun(DryRun),
}

/// Imports all rows and counts them in the summary.
pub async fn import(
    mut target: Target,
    organisation_id: i64,
    rows: Rows<RelationRow>,
    summary: &mut Summary<Changes>,
    observer: &mut impl Observer,
) -> Result<(), ImportError> {
    super::import(rows, summary, observer, async |rows: &[&RelationRow]| {
        target.write(organisation_id, rows).await
    })
    .await?;
    if let Target::DryRun(dry_run) = target {
        dry_run.close().await?;
    }
    Ok(())
}

impl Target {
    /// Writes rows so that those of one pair take effect in the order of the file: the order of pending writes is free, so the next
    /// row of a pair is submitted after the result of the last. Returns the results in the order of the rows.
    async fn write(
        &mut self,
        organisation_id: i64,
        rows: &[&RelationRow],
    ) -> Result<Vec<RowResult>, ImportError> {
        // A dry run writes matches in their order.
        let in_order = matches!(self, Self::DryRun(_)) && rows.iter().all(|row| row.active);
        let mut results = Vec::with_capacity(rows.len());
        let mut rows = rows.iter().copied().peekable();
        while rows.peek().is_some() {
            let mut run = Run::default();
            let run: Vec<_> =
                iter::from_fn(|| rows.next_if(|row| in_order || run.takes(&row.wanted))).collect();
            let (active, ended): (Vec<_>, Vec<_>) = run.iter().partition(|row| row.active);
            let (matched, ended) = match self {
                Self::Database(group_commit, pool, layout) => {
                    let mut target = ended_relations::Target::Database(pool, *layout);
                    let ended = ended_relations::write(&mut target, organisation_id, &ended).await?;
                    (write_matches(group_commit, organisation_id, &active).await?, ended)
                }
                Self::DryRun(dry_run) => (
                    match_dry_run::write(dry_run, organisation_id, &active).await?,
                    match_dry_run::end(dry_run, organisation_id, &ended).await?,
                ),
            };
            let (mut matched, mut ended) = (matched.into_iter(), ended.into_iter());
            results
                .extend(run.iter().filter_map(|row| if row.active { matched.next() } else { ended.next() }));
        }
        Ok(results)
    }
}

async fn write_matches(
    group_commit: &GroupCommit,
    organisation_id: i64,
    rows: &[&RelationRow],
) -> Result<Vec<RowResult>, WriteError> {
    let write = async |row: &RelationRow| {
        let submit = |wanted| group_commit.match_customers(Submitter::new(organisation_id), wanted);
        let first = submit(row.wanted.clone()).await?;
        Ok(match row.reversed() {
            None => first.into(),
            Some(reversed) => RelationChange::of_both(first, submit(reversed).await?),
        })
    };
    stream::iter(rows).map(|row| write(row)).buffered(IN_FLIGHT).map(row_result).try_collect().await
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
