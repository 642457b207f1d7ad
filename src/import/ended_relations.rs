//! Writes rows whose relation is to be ended: one statement for those of a batch.

use sqlx::{PgConnection, PgPool};

use super::relation_change::{RelationChange, RowResult};
use super::relation_row::RelationRow;
use crate::db::customer_match_import::{self, Ended, EndedRelations};
use crate::db::retry::{is_retryable, retry};
use crate::db::{self, Layout};
use crate::domain::{NamedCustomer, Notice};
use crate::group_commit::WriteError;

pub(super) enum Target<'a> {
    Database(&'a PgPool, Layout),
    /// Its tables are copies.
    DryRun(&'a mut PgConnection),
}

/// The results come in the order of the rows, which are about different pairs. If the database rejects a value, the rows are bisected
/// until the rejected ones are isolated.
pub(super) async fn write(
    target: &mut Target<'_>,
    organisation_id: i64,
    rows: &[&RelationRow],
) -> sqlx::Result<Vec<RowResult>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let relations = columns(rows);
    let ended = match target {
        Target::Database(pool, layout) => {
            let attempt = async || match layout {
                Layout::Single => customer_match_import::end(*pool, organisation_id, &relations).await,
                Layout::Distributed => {
                    customer_match_import::end_distributed(*pool, organisation_id, &relations).await
                }
            };
            retry(attempt, is_retryable).await
        }
        Target::DryRun(connection) => {
            customer_match_import::end(&mut **connection, organisation_id, &relations).await
        }
    };
    match ended {
        Err(error) if db::is_invalid_value(&error) => {
            if rows.len() == 1 {
                return Ok(vec![Err(format!("the database rejects it: {}", db::message(&error)))]);
            }
            let (first, second) = rows.split_at(rows.len() / 2);
            let mut results = Box::pin(write(target, organisation_id, first)).await?;
            results.extend(Box::pin(write(target, organisation_id, second)).await?);
            Ok(results)
        }
        ended => Ok(rows.iter().zip(ended?).map(|(row, ended)| result(row, &ended)).collect()),
    }
}

fn columns<'a>(rows: &[&'a RelationRow]) -> EndedRelations<'a> {
    let mut columns = EndedRelations::default();
    for RelationRow { wanted, mutual, .. } in rows {
        columns.managers.push(wanted.manager.as_str());
        columns.cu_ref_nos.push(wanted.customer.cu_ref_no());
        columns.emails.push(wanted.customer.email());
        columns.notices.push(wanted.notice.as_ref().map(Notice::as_str));
        columns.mutual.push(*mutual);
    }
    columns
}

fn result(row: &RelationRow, ended: &Ended) -> RowResult {
    let manager = &row.wanted.manager;
    if !ended.manager_lives {
        return Err(WriteError::CustomerNotFound(manager.clone()).to_string());
    }
    if !ended.customer_lives {
        return Err(match &row.wanted.customer {
            NamedCustomer::CuRefNo(cu_ref_no) => WriteError::CustomerNotFound(cu_ref_no.clone()).to_string(),
            NamedCustomer::Email(email) => format!("no customer has the e-mail address {email}"),
        });
    }
    if ended.customer.as_deref() == Some(manager.as_str()) {
        return Err(WriteError::SameCustomer.to_string());
    }
    Ok(match ended.change.as_deref() {
        None => RelationChange::Unchanged,
        Some("created") => RelationChange::Created { guest: false },
        Some("ended") => RelationChange::Ended,
        Some(_) => RelationChange::Updated,
    })
}
