//! The file of `--rejected`: the rows that an import rejected, as CSV and with the reason in front, so that the
//! corrected file can be imported.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use csv::{ByteRecord, Writer, WriterBuilder};

use crate::import::columns::REJECTION_REASON;

pub(super) struct RejectedRows {
    path: PathBuf,
    writer: Writer<File>,
    /// Where the input has the reasons of an earlier import.
    old_reason: Option<usize>,
    /// The first error.
    result: csv::Result<()>,
}

impl RejectedRows {
    /// Opens the file, empties it and writes the header. `columns` are those of the input.
    pub(super) fn create(path: &Path, input: &Metadata, columns: &[String]) -> anyhow::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_file() {
            let same = (metadata.dev(), metadata.ino()) == (input.dev(), input.ino());
            ensure!(!same, "it is the file that is imported: name another one");
            file.set_len(0)?;
        }
        let mut rows = Self {
            path: path.to_owned(),
            // A row with too few or too many cells is kept as it is.
            writer: WriterBuilder::new().flexible(true).from_writer(file),
            old_reason: columns.iter().position(|column| column == REJECTION_REASON),
            result: Ok(()),
        };
        rows.push(REJECTION_REASON, &ByteRecord::from(columns));
        Ok(rows)
    }

    pub(super) fn push(&mut self, reason: &str, cells: &ByteRecord) {
        let cells = cells.iter().enumerate().filter(|(position, _)| Some(*position) != self.old_reason);
        let row = [reason.as_bytes()].into_iter().chain(cells.map(|(_, cell)| cell));
        let written = self.writer.write_record(row);
        if self.result.is_ok() {
            self.result = written;
        }
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let flushed = self.writer.flush();
        self.result
            .and_then(|()| Ok(flushed?))
            .with_context(|| format!("the rejected rows could not be written to {}", self.path.display()))
    }
}
