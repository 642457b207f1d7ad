//! Customers and matches from CSV files of any size.
//!
//! ```text
//! file ─→ rows, a batch at a time ─→ customers ─→ one transaction a batch ─┐
//!  (a thread of its own)          └→ matches ──→ group commit, in order ────┴─→ what became of each row, in order
//! ```
//!
//! Memory does not grow with the file: a few batches are on their way at most. What cannot be taken is refused row by row
//! and hinders no other. A dry run does the same on a copy ([`crate::db::dry_run`]).

pub mod customers;
pub mod file;
pub mod matches;
mod plan;

use std::fmt::Display;

use serde::Serialize;
use tokio::sync::mpsc;

use self::file::{Batch, FileError};
use crate::group_commit::WriteError;

/// What became of the rows of a file.
#[derive(Debug, Default, Serialize)]
pub struct Summary<C> {
    /// All of them.
    pub rows: u64,
    /// Those that were not taken.
    pub refused: u64,
    /// The others.
    #[serde(flatten)]
    pub changes: C,
}

/// Counts of what the rows of one kind came to; displayed as a list for people.
pub trait Changes: Default + Display + Serialize {
    /// What a row came to.
    type Outcome;

    /// Counts one.
    fn count(&mut self, outcome: Self::Outcome);
}

/// Who is told while an import goes on.
pub trait Observer {
    /// This row was not taken.
    fn refused(&mut self, line: u64, reason: &str);
    /// So much of the file is done.
    fn progress(&mut self, bytes: u64, rows: u64);
}

/// Why an import stopped before the end of its file. What was counted until then is in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read on.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database did not take part any longer.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// Every attempt at a batch met somebody else's write.
    #[error("others write about the same customers all the time")]
    Raced,
    /// The write path did not write in time.
    #[error(transparent)]
    Match(#[from] WriteError),
}

/// Lets `take` have all rows that could be read, a batch at a time. It says what became of each, in their order.
async fn import<T, C: Changes>(
    mut rows: mpsc::Receiver<Result<Batch<T>, FileError>>,
    summary: &mut Summary<C>,
    observer: &mut impl Observer,
    mut take: impl AsyncFnMut(&[&T]) -> Result<Vec<Result<C::Outcome, String>>, ImportError>,
) -> Result<(), ImportError> {
    while let Some(batch) = rows.recv().await {
        let batch = batch?;
        let readable: Vec<_> = batch.rows.iter().filter_map(|row| row.record.as_ref().ok()).collect();
        let mut outcomes = take(&readable).await?.into_iter();
        for row in &batch.rows {
            let outcome = match &row.record {
                Ok(_) => outcomes.next(),
                Err(reason) => Some(Err(reason.clone())),
            };
            summary.rows += 1;
            match outcome {
                Some(Ok(outcome)) => summary.changes.count(outcome),
                Some(Err(reason)) => {
                    summary.refused += 1;
                    observer.refused(row.line, &reason);
                }
                None => {}
            }
        }
        observer.progress(batch.bytes, summary.rows);
    }
    Ok(())
}

/// Why the database rejects the row whatever is done again: it breaks a rule that only the database knows.
fn rejection(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    // Data exceptions and broken constraints.
    let is_about_the_data = error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"));
    is_about_the_data.then(|| format!("the database rejects it: {}", error.message()))
}
