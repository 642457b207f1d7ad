//! Reads a file with a JSON object on each line.

use std::io::{self, BufRead, BufReader, Read};

use csv::StringRecord;
use serde_json::{Map, Value};

use super::columns::ColumnNames;
use super::formula::guard;
use super::record::Record;
use super::{BYTE_ORDER_MARK, FileError, MAX_ROW_BYTES};

pub(super) struct Ndjson {
    input: BufReader<Box<dyn Read + Send>>,
    /// Lines read.
    line: u64,
    /// Bytes read in all.
    pub(super) bytes: u64,
}

impl Ndjson {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Self {
        Self { input: BufReader::new(input), line: 0, bytes: 0 }
    }

    /// The next line that is not blank, and its number.
    pub(super) fn next_line(&mut self) -> Result<Option<(u64, Vec<u8>)>, FileError> {
        loop {
            let mut line = Vec::new();
            let count = (&mut self.input).take(MAX_ROW_BYTES as u64 + 1).read_until(b'\n', &mut line);
            let count = count.map_err(|error| FileError::Read(self.line + 1, error))?;
            if count == 0 {
                return Ok(None);
            }
            self.line += 1;
            self.bytes += count as u64;
            if count > MAX_ROW_BYTES {
                return Err(FileError::Read(self.line, io::Error::other("it is longer than 1 MiB")));
            }
            let text = line.strip_prefix(BYTE_ORDER_MARK).filter(|_| self.line == 1).unwrap_or(&line);
            let text = text.trim_ascii();
            if !text.is_empty() {
                return Ok(Some((self.line, text.to_vec())));
            }
        }
    }
}

/// The object as a row with all columns of the import, in which a member that is absent or null is blank: the same row as in a
/// CSV file.
pub(super) fn cells<T: Record>(line: &[u8], names: &ColumnNames) -> Result<StringRecord, String> {
    let members: Map<String, Value> = serde_json::from_slice(line)
        .map_err(|error| format!("it is not a JSON object (column {})", error.column()))?;
    let mut cells = vec![String::new(); T::COLUMNS.len()];
    for (name, value) in members {
        let column =
            names.ours::<T>(&name).map_err(|unknown| format!("it has an unknown member {unknown:?}"))?;
        let Some(position) = T::COLUMNS.iter().position(|known| Some(*known) == column) else { continue };
        cells[position] = match value {
            Value::Null => String::new(),
            Value::String(text) => guard(&text).into_owned(),
            Value::Bool(value) => value.to_string(),
            _ => return Err(format!("{name} must be a text")),
        };
    }
    Ok(cells.into())
}
