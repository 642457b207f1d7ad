//! Writes rows that are customers: one transaction per batch.

use std::cell::Cell;
use std::fmt;

use serde::Serialize;
use sqlx::{Connection, PgConnection, PgPool};

use super::customer_row::CustomerRow;
use super::plan::{Existing, Plan, RowChange, RowResult};
use super::{ImportError, Observer, Rows, Summary};
use crate::db;
use crate::db::customer_import;
use crate::db::dry_run::DryRun;
use crate::db::retry::{is_retryable, retry};
use crate::domain::{Change, CuRefNo};

/// A batch is planned again each time another writer changed its customers between the read and the write.
const MAX_ATTEMPTS: usize = 10;

/// Imported rows by what they changed.
#[derive(Debug, Default, Serialize)]
pub struct Changes {
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    /// Stored values that were replaced or cleared.
    pub overwritten: u64,
}

impl super::Changes for Changes {
    type Change = RowChange;

    fn remarks(RowChange { overwritten, .. }: &RowChange) -> &[String] {
        overwritten
    }

    fn count(&mut self, RowChange { change, overwritten }: RowChange) {
        self.overwritten += overwritten.len() as u64;
        match change {
            Change::Created => self.created += 1,
            Change::Updated => self.updated += 1,
            // A customer is never reactivated.
            Change::Unchanged | Change::Reactivated => self.unchanged += 1,
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, updated, unchanged, overwritten } = self;
        write!(f, "{created} created, {updated} updated, {unchanged} unchanged")?;
        if *overwritten > 0 {
            write!(f, ", {overwritten} stored value(s) overwritten")?;
        }
        Ok(())
    }
}

pub enum Target {
    /// The pool, and the connection that the last batch used.
    Database(PgPool, Cell<Option<PgConnection>>),
    DryRun(DryRun),
}

/// Imports all rows and counts them in the summary.
pub async fn import(
    mut target: Target,
    organisation_id: i64,
    rows: Rows<CustomerRow>,
    existing: Existing,
    summary: &mut Summary<Changes>,
    observer: &mut impl Observer,
) -> Result<(), ImportError> {
    super::import(rows, summary, observer, async |customers: &[&CustomerRow]| {
        target.write(organisation_id, customers, existing).await
    })
    .await?;
    target.close().await?;
    Ok(())
}

impl Target {
    pub fn database(pool: &PgPool) -> Self {
        Self::Database(pool.clone(), Cell::new(None))
    }

    /// Writes a batch. If the database rejects a value, the batch is bisected until the rejected rows are isolated.
    async fn write(
        &mut self,
        organisation_id: i64,
        customers: &[&CustomerRow],
        existing: Existing,
    ) -> Result<Vec<RowResult>, ImportError> {
        match self.write_batch(organisation_id, customers, existing).await {
            Err(ImportError::Database(error)) if db::is_invalid_value(&error) => {
                if customers.len() == 1 {
                    return Ok(vec![Err(format!("the database rejects it: {}", db::message(&error)))]);
                }
                let (first, second) = customers.split_at(customers.len() / 2);
                let mut results = Box::pin(self.write(organisation_id, first, existing)).await?;
                results.extend(Box::pin(self.write(organisation_id, second, existing)).await?);
                Ok(results)
            }
            result => result,
        }
    }

    async fn write_batch(
        &mut self,
        organisation_id: i64,
        customers: &[&CustomerRow],
        existing: Existing,
    ) -> Result<Vec<RowResult>, ImportError> {
        let named = Named::of(customers);
        for _ in 0..MAX_ATTEMPTS {
            let results = match self {
                Self::Database(pool, idle) => {
                    let attempt = async || {
                        let mut connection = match idle.take() {
                            Some(connection) => connection,
                            None => db::dedicated(pool).await?,
                        };
                        let Named { cu_ref_nos, emails } = &named;
                        let known =
                            customer_import::find(&mut connection, organisation_id, cu_ref_nos, emails)
                                .await?;
                        let (plan, results) = Plan::of(customers, known, existing);
                        let written = write(&mut connection, organisation_id, &plan).await?;
                        sqlx::Result::Ok((connection, written.then_some(results)))
                    };
                    let (connection, results) = retry(attempt, is_retryable).await?;
                    idle.set(Some(connection));
                    results
                }
                Self::DryRun(dry_run) => {
                    let known =
                        dry_run.find_customers(organisation_id, &named.cu_ref_nos, &named.emails).await?;
                    let (plan, results) = Plan::of(customers, known, existing);
                    if plan.changes_nothing() {
                        return Ok(results);
                    }
                    let updated: Vec<_> = plan.updates().iter().map(|update| update.cu_ref_no).collect();
                    dry_run.copy_customers(organisation_id, &updated, &[]).await?;
                    write(dry_run.connection(), organisation_id, &plan).await?.then_some(results)
                }
            };
            if let Some(results) = results {
                return Ok(results);
            }
        }
        Err(ImportError::Contended)
    }

    async fn close(self) -> sqlx::Result<()> {
        match self {
            Self::Database(_, idle) => match idle.into_inner() {
                Some(connection) => connection.close().await,
                None => Ok(()),
            },
            Self::DryRun(dry_run) => dry_run.close().await,
        }
    }
}

/// The references and e-mail addresses that the rows of a batch name.
struct Named<'a> {
    cu_ref_nos: Vec<&'a str>,
    emails: Vec<&'a str>,
}

impl<'a> Named<'a> {
    fn of(customers: &[&'a CustomerRow]) -> Self {
        Self {
            cu_ref_nos: customers
                .iter()
                .filter_map(|row| row.cu_ref_no.as_ref())
                .map(CuRefNo::as_str)
                .collect(),
            emails: customers.iter().filter_map(|row| row.email()).collect(),
        }
    }
}

/// Writes a batch in one transaction. False: another writer changed one of its customers first, and nothing was written.
///
/// Existing customers were read without a lock, so that a file without changes locks nothing. The writing statements return
/// how many rows they wrote, which shows whether the read was still current.
async fn write(connection: &mut PgConnection, organisation_id: i64, plan: &Plan) -> sqlx::Result<bool> {
    if plan.changes_nothing() {
        return Ok(true);
    }
    let (new, updates) = (plan.new_records(), plan.updates());
    let (losers, released) = plan.released_emails();
    let mut transaction = connection.begin().await?;
    db::allow_long_statements(&mut transaction).await?;
    let free =
        customer_import::release_emails(&mut *transaction, organisation_id, &losers, &released).await?;
    let added = customer_import::insert(&mut *transaction, organisation_id, &new).await?;
    let updated = match customer_import::update(
        &mut *transaction,
        organisation_id,
        &updates,
        plan.overwrites(),
    )
    .await
    {
        // Another customer has got the e-mail address since the read.
        Err(error) if db::violates(&error, db::customer::EMAIL_KEY) => 0,
        result => result?,
    };
    if free < released.len() || added < new.len() || updated < updates.len() {
        transaction.rollback().await?;
        return Ok(false);
    }
    transaction.commit().await?;
    Ok(true)
}
