//! Imports customers and matches from files of any size, CSV or NDJSON.
//!
//! ```text
//! file ─→ batches of rows ─┬→ customers: one transaction per batch ──┐
//!  (a thread of its own)   └→ matches: group commit, in file order ──┴→ one result per row, in file order
//! ```
//!
//! Memory does not grow with the file, as only a few batches exist at a time. A row that cannot be imported is rejected, and
//! the other rows are imported. A dry run executes the same statements on copies ([`crate::db::dry_run`]).

pub mod columns;
mod csv_rows;
pub mod customer_row;
pub mod customers;
mod ended_relations;
pub mod file;
pub mod formula;
mod match_dry_run;
pub mod matches;
mod ndjson;
pub mod plan;
pub mod record;
mod relation_change;
pub mod relation_row;

use std::fmt::Display;
use std::io;

use csv::ByteRecord;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::file::Batch;
use crate::group_commit::WriteError;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Limit on the length of a row: far above the longest notice. It bounds the memory that an unclosed quote takes.
const MAX_ROW_BYTES: usize = 1 << 20;

/// Why a file cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The first line is not a header for these rows; no row was read.
    #[error("{0}")]
    Header(String),
    /// The quote of this line takes in the rest of the file.
    #[error("the quote that opens in the row of line {0} is never closed")]
    OpenQuote(u64),
    #[error("the row of line {0} cannot be read: {1}")]
    Read(u64, io::Error),
}

/// What became of the rows of a file.
#[derive(Debug, Default, Serialize)]
pub struct Summary<C> {
    pub rows: u64,
    pub rejected: u64,
    /// Of the other rows.
    #[serde(flatten)]
    pub changes: C,
}

/// Counters of what imported rows changed; displayed as a list for people.
pub trait Changes: Default + Display + Serialize {
    type Change;

    /// What the operator is told of a row that was imported.
    fn remarks(_change: &Self::Change) -> &[String] {
        &[]
    }

    fn count(&mut self, change: Self::Change);
}

/// The batches of a file, until its end or until `stop` is cancelled.
pub struct Rows<T> {
    pub batches: mpsc::Receiver<Result<Batch<T>, FileError>>,
    pub stop: CancellationToken,
}

impl<T> Rows<T> {
    async fn next(&mut self) -> Result<Option<Batch<T>>, ImportError> {
        match self.stop.run_until_cancelled(self.batches.recv()).await {
            Some(batch) => Ok(batch.transpose()?),
            None => Err(ImportError::Interrupted),
        }
    }
}

/// Is told of progress and of rejected rows during an import.
pub trait Observer {
    /// `cells` are those of the file.
    fn rejected(&mut self, line: u64, cells: &ByteRecord, reason: &str);
    fn remark(&mut self, line: u64, remark: &str);
    /// `bytes` and `rows` of the file are done.
    fn progress(&mut self, bytes: u64, rows: u64);
}

/// Why an import stopped before the end of its file. The rows that were counted are imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("other writers changed the same customers during every attempt")]
    Contended,
    #[error(transparent)]
    Match(#[from] WriteError),
    #[error("interrupted")]
    Interrupted,
}

/// Passes the valid rows of each batch to `write`, which returns one result per row, in order.
async fn import<T, C: Changes>(
    mut rows: Rows<T>,
    summary: &mut Summary<C>,
    observer: &mut impl Observer,
    mut write: impl AsyncFnMut(&[&T]) -> Result<Vec<Result<C::Change, String>>, ImportError>,
) -> Result<(), ImportError> {
    while let Some(batch) = rows.next().await? {
        let valid: Vec<_> = batch.rows.iter().filter_map(|row| row.record.as_ref().ok()).collect();
        let mut results = write(&valid).await?.into_iter();
        for row in &batch.rows {
            let result = match &row.record {
                Ok(_) => results.next(),
                Err(reason) => Some(Err(reason.clone())),
            };
            summary.rows += 1;
            match result {
                Some(Ok(change)) => {
                    C::remarks(&change).iter().for_each(|remark| observer.remark(row.line, remark));
                    summary.changes.count(change);
                }
                Some(Err(reason)) => {
                    summary.rejected += 1;
                    observer.rejected(row.line, &row.cells, &reason);
                }
                None => {}
            }
        }
        observer.progress(batch.bytes, summary.rows);
    }
    Ok(())
}
