//! What a row of a file is read as.

use std::fmt::Display;
use std::str::FromStr;

use csv::StringRecord;

use super::formula::unguard;

/// The kind of a file's rows.
pub trait Record: Sized + Send + 'static {
    /// The columns that a file may have, in any order.
    const COLUMNS: &'static [&'static str];
    /// The file must have one column at least of each group.
    const REQUIRED: &'static [&'static [&'static str]];

    /// # Errors
    ///
    /// The reason why the row is rejected; it names the column.
    fn parse(cells: &Cells<'_>) -> Result<Self, String>;
}

/// The cells of one row.
pub struct Cells<'a> {
    pub(super) columns: &'a [Option<&'static str>],
    pub(super) record: &'a StringRecord,
}

impl Cells<'_> {
    /// The value in this column; `None` when the file lacks the column or the cell is blank.
    pub fn parse<T>(&self, column: &str) -> Result<Option<T>, String>
    where
        T: FromStr<Err: Display>,
    {
        let position = self.columns.iter().position(|name| *name == Some(column));
        let Some(text) = position.and_then(|position| self.record.get(position)) else { return Ok(None) };
        let text = unguard(text);
        if text.trim().is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|error| format!("{column} {error}"))
    }
}
