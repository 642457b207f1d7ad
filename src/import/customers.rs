//! Rows that are customers.

use std::cell::Cell;
use std::fmt;

use serde::Serialize;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::mpsc;

use super::file::{Batch, Cells, FileError, Record};
use super::plan::Plan;
use super::{ImportError, Observer, Summary, rejection};
use crate::db;
use crate::db::customer_import;
use crate::db::dry_run::DryRun;
use crate::db::retry::retry;
use crate::domain::{CuRefNo, Email, ProfileText};

/// How often a batch is planned anew because somebody else wrote about its customers meanwhile.
const ROUNDS: usize = 10;

/// A row: at least a reference or an address.
pub struct CustomerRow {
    pub(super) cu_ref_no: Option<CuRefNo>,
    pub(super) email: Option<Email>,
    first_name: Option<ProfileText>,
    last_name: Option<ProfileText>,
    company_name: Option<ProfileText>,
    phone: Option<ProfileText>,
}

impl Record for CustomerRow {
    const COLUMNS: &'static [&'static str] =
        &["email", "cuRefNo", "firstName", "lastName", "companyName", "phone"];
    const REQUIRED: &'static [&'static [&'static str]] = &[&["email", "cuRefNo"]];

    fn parse(cells: &Cells<'_>) -> Result<Self, String> {
        let row = Self {
            cu_ref_no: cells.parse("cuRefNo")?,
            email: cells.parse("email")?,
            first_name: cells.parse("firstName")?,
            last_name: cells.parse("lastName")?,
            company_name: cells.parse("companyName")?,
            phone: cells.parse("phone")?,
        };
        if row.cu_ref_no.is_none() && row.email.is_none() {
            return Err("it has neither an email nor a cuRefNo".into());
        }
        Ok(row)
    }
}

impl CustomerRow {
    /// The customer that the row would create; with a random reference when it gives none.
    pub(super) fn to_record(&self) -> customer_import::Record {
        let text = |field: &Option<ProfileText>| field.as_ref().map(|text| text.as_str().to_owned());
        customer_import::Record {
            stored: false,
            cu_ref_no: self.cu_ref_no.clone().unwrap_or_else(CuRefNo::generate).to_string(),
            email: self.email.as_ref().map(Email::to_string),
            first_name: text(&self.first_name),
            last_name: text(&self.last_name),
            company_name: text(&self.company_name),
            phone: text(&self.phone),
            deleted: false,
        }
    }
}

/// What a row that was taken came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A new customer.
    Created,
    /// Something that a customer lacked.
    Updated,
    /// Nothing new.
    Unchanged,
}

/// How many rows came to what.
#[derive(Debug, Default, Serialize)]
#[expect(missing_docs, reason = "named like the variants of `Change`")]
pub struct Changes {
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
}

impl super::Changes for Changes {
    type Outcome = Change;

    fn count(&mut self, change: Change) {
        match change {
            Change::Created => self.created += 1,
            Change::Updated => self.updated += 1,
            Change::Unchanged => self.unchanged += 1,
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, updated, unchanged } = self;
        write!(f, "{created} created, {updated} updated, {unchanged} unchanged")
    }
}

/// What became of a row: taken, or refused with the reason.
pub(super) type Outcome = Result<Change, String>;

/// Where the customers go.
pub enum Target {
    /// Into the database, with the connection that the last batch left.
    Database(PgPool, Cell<Option<PgConnection>>),
    /// Nowhere, after all.
    DryRun(DryRun),
}

/// Imports all rows, and counts them.
pub async fn import(
    mut target: Target,
    organisation_id: i64,
    rows: mpsc::Receiver<Result<Batch<CustomerRow>, FileError>>,
    summary: &mut Summary<Changes>,
    observer: &mut impl Observer,
) -> Result<(), ImportError> {
    super::import(rows, summary, observer, async |customers: &[&CustomerRow]| {
        target.take(organisation_id, customers).await
    })
    .await?;
    target.close().await?;
    Ok(())
}

impl Target {
    /// Into this database.
    pub fn database(pool: &PgPool) -> Self {
        Self::Database(pool.clone(), Cell::new(None))
    }

    /// Takes customers as far as the database lets it. If it does not, the half with the one it refuses is found, and its
    /// half, until that row is alone.
    async fn take(
        &mut self,
        organisation_id: i64,
        customers: &[&CustomerRow],
    ) -> Result<Vec<Outcome>, ImportError> {
        match self.take_together(organisation_id, customers).await {
            Err(ImportError::Database(error)) => match (rejection(&error), customers) {
                (Some(reason), [_]) => Ok(vec![Err(reason)]),
                (Some(_), [_, ..]) => {
                    let (first, second) = customers.split_at(customers.len() / 2);
                    let mut outcomes = Box::pin(self.take(organisation_id, first)).await?;
                    outcomes.extend(Box::pin(self.take(organisation_id, second)).await?);
                    Ok(outcomes)
                }
                _ => Err(error.into()),
            },
            result => result,
        }
    }

    async fn take_together(
        &mut self,
        organisation_id: i64,
        customers: &[&CustomerRow],
    ) -> Result<Vec<Outcome>, ImportError> {
        let named = Named::of(customers);
        for _ in 0..ROUNDS {
            let outcomes = match self {
                Self::Database(pool, idle) => {
                    let written: sqlx::Result<_> = retry(async || {
                        let mut connection = match idle.take() {
                            Some(connection) => connection,
                            None => db::dedicated(pool).await?,
                        };
                        let outcomes = write(&mut connection, organisation_id, customers, &named).await?;
                        Ok((connection, outcomes))
                    })
                    .await;
                    let (connection, outcomes) = written?;
                    idle.set(Some(connection));
                    outcomes
                }
                Self::DryRun(dry_run) => {
                    dry_run.copy_customers(organisation_id, &named.cu_ref_nos, &named.emails).await?;
                    write(dry_run.connection(), organisation_id, customers, &named).await?
                }
            };
            if let Some(outcomes) = outcomes {
                return Ok(outcomes);
            }
        }
        Err(ImportError::Raced)
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

/// What the rows of a batch call their customers.
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
            emails: customers.iter().filter_map(|row| row.email.as_ref()).map(Email::as_str).collect(),
        }
    }
}

/// Takes a batch in one transaction. `None`: somebody else was first with one of its customers, and nothing was written.
///
/// What is there is read without a lock, so that a file that changes nothing locks nothing; the statements that write say
/// whether it was still so.
async fn write(
    connection: &mut PgConnection,
    organisation_id: i64,
    customers: &[&CustomerRow],
    named: &Named<'_>,
) -> sqlx::Result<Option<Vec<Outcome>>> {
    let known =
        customer_import::find(&mut *connection, organisation_id, &named.cu_ref_nos, &named.emails).await?;
    let mut plan = Plan::new(known);
    let outcomes = customers.iter().map(|customer| plan.take(customer)).collect();
    let (new, filled) = (plan.new_records(), plan.filled_records());
    if new.is_empty() && filled.is_empty() {
        return Ok(Some(outcomes));
    }
    let mut transaction = connection.begin().await?;
    db::allow_long_statements(&mut transaction).await?;
    let added = customer_import::insert(&mut *transaction, organisation_id, &new).await?;
    let kept = match customer_import::fill(&mut *transaction, organisation_id, &filled).await {
        // The address that was free a moment ago.
        Err(error) if db::violates(&error, db::customer::EMAIL_KEY) => 0,
        result => result?,
    };
    if added < new.len() || kept < filled.len() {
        transaction.rollback().await?;
        return Ok(None);
    }
    transaction.commit().await?;
    Ok(Some(outcomes))
}
