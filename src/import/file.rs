//! Reads a CSV file as rows of one kind, each with the number of its first line.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::str::FromStr;

use csv::{ByteRecord, ReaderBuilder, StringRecord};
use tokio::sync::mpsc;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Rows per batch.
const BATCH: usize = 1000;
/// Batches that are read ahead while one is written.
const AHEAD: usize = 2;
/// Limit on the length of a row: far above the longest notice. It bounds the memory that an unclosed quote takes.
const MAX_ROW_BYTES: usize = 1 << 20;

/// Why a row is rejected whose cell goes on behind its closing quote.
const MISQUOTED: &str = "there is text behind a closing quote: a quote within quotes must be doubled";

/// A column that any file may have and that is not read: why a row was rejected by the import that wrote the file.
pub const REJECTION_REASON: &str = "rejectionReason";

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

pub struct Row<T> {
    /// The number of its first line in the file, from 1.
    pub line: u64,
    /// As the file has them.
    pub cells: ByteRecord,
    /// The row, or why it is rejected.
    pub record: Result<T, String>,
}

/// Rows in the order of the file.
pub struct Batch<T> {
    /// Not empty.
    pub rows: Vec<Row<T>>,
    /// Bytes of the file that were read until the end of these rows.
    pub bytes: u64,
}

/// A file whose header has been read and is valid.
pub struct File<T> {
    reader: csv::Reader<Source>,
    /// In the order of the file.
    columns: Vec<&'static str>,
    kind: PhantomData<T>,
}

/// The cells of one row.
pub struct Cells<'a> {
    columns: &'a [&'static str],
    record: &'a StringRecord,
}

impl Cells<'_> {
    /// The value in this column; `None` when the file lacks the column or the cell is blank.
    pub fn parse<T>(&self, column: &str) -> Result<Option<T>, String>
    where
        T: FromStr<Err: Display>,
    {
        let position = self.columns.iter().position(|name| *name == column);
        let Some(text) = position.and_then(|position| self.record.get(position)) else { return Ok(None) };
        if text.trim().is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|error| format!("{column} {error}"))
    }
}

impl<T: Record> File<T> {
    /// Reads the header.
    pub fn open(input: impl Read + Send + 'static) -> Result<Self, FileError> {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            // A row with too few or too many cells is rejected like any other invalid row, and reading continues.
            .flexible(true)
            .from_reader(Source::new(Box::new(input)));
        let mut file = Self { reader, columns: Vec::new(), kind: PhantomData };
        let mut header = ByteRecord::new();
        if file.next_record(&mut header)?.is_none() {
            return Err(FileError::Header("it is empty: the first line must name the columns".into()));
        }
        if file.is_misquoted() {
            return Err(FileError::Header(MISQUOTED.into()));
        }
        let header = StringRecord::from_byte_record(header)
            .map_err(|_| FileError::Header("its first line is not UTF-8 text".into()))?;
        file.columns = columns::<T>(&header).map_err(FileError::Header)?;
        Ok(file)
    }

    /// The names in the header, in the order of the file.
    pub fn columns(&self) -> &[&'static str] {
        &self.columns
    }

    /// Reads the rest on a thread of its own, a few batches ahead of the receiver. The last item may be an error.
    pub fn read(mut self) -> mpsc::Receiver<Result<Batch<T>, FileError>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        // Not a blocking task of tokio: after a failed import the runtime would wait for its read from a pipe.
        std::thread::spawn(move || {
            let mut open = true;
            while open {
                let mut rows = Vec::with_capacity(BATCH);
                let mut failure = None;
                while open && rows.len() < BATCH {
                    match self.next_row() {
                        Ok(Some(row)) => rows.push(row),
                        Ok(None) => open = false,
                        Err(error) => {
                            open = false;
                            failure = Some(error);
                        }
                    }
                }
                let batch = (!rows.is_empty()).then(|| Batch { rows, bytes: self.reader.get_ref().bytes });
                for item in batch.map(Ok).into_iter().chain(failure.map(Err)) {
                    // An error: the import has stopped.
                    open &= sender.blocking_send(item).is_ok();
                }
            }
        });
        receiver
    }

    /// Reads the next row on the current thread.
    pub fn next_row(&mut self) -> Result<Option<Row<T>>, FileError> {
        let mut cells = ByteRecord::new();
        let Some(line) = self.next_record(&mut cells)? else { return Ok(None) };
        let misquoted = self.is_misquoted();
        let record = match StringRecord::from_byte_record(cells.clone()) {
            _ if misquoted => Err(MISQUOTED.into()),
            Err(_) => Err("it is not UTF-8 text".into()),
            Ok(record) if record.len() != self.columns.len() => {
                Err(format!("it has {} cells, and the header has {}", record.len(), self.columns.len()))
            }
            Ok(record) => T::parse(&Cells { columns: &self.columns, record: &record }),
        };
        Ok(Some(Row { line, cells, record }))
    }

    /// Whether the record that was read last has text behind a closing quote. The parser takes it as part of the cell: of
    /// `"A \"B\" C"` it would make `A \B\" C"`.
    fn is_misquoted(&mut self) -> bool {
        let end = self.reader.position().byte();
        let misquotes = &mut self.reader.get_mut().misquotes;
        let before = misquotes.len();
        while misquotes.pop_front_if(|at| *at < end).is_some() {}
        misquotes.len() < before
    }

    /// Reads a record and returns the number of its first line. The parser's own number is where it began to search, which
    /// differs after blank lines, so the number is computed from where it stopped and from the line breaks in the record.
    fn next_record(&mut self, record: &mut ByteRecord) -> Result<Option<u64>, FileError> {
        self.reader.get_mut().row_budget = MAX_ROW_BYTES;
        let began = self.reader.position().line();
        match self.reader.read_byte_record(record) {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => {
                let cause = match error.into_kind() {
                    csv::ErrorKind::Io(error) => error,
                    other => io::Error::other(format!("{other:?}")),
                };
                return Err(FileError::Read(began, cause));
            }
        }
        let breaks = record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        let stopped = self.reader.position().line();
        // The source always ends with a line break, which ends a record unless a quote is open.
        if self.reader.get_ref().ended {
            return Err(FileError::OpenQuote(stopped - breaks));
        }
        Ok(Some(stopped - breaks - 1))
    }
}

/// The columns of a valid header.
fn columns<T: Record>(header: &StringRecord) -> Result<Vec<&'static str>, String> {
    let mut columns = Vec::with_capacity(header.len());
    for cell in header {
        let name = cell.trim();
        let Some(column) = T::COLUMNS.iter().chain([&REJECTION_REASON]).find(|column| **column == name)
        else {
            let known = T::COLUMNS.join(",");
            return Err(format!(
                "it has an unknown column {name:?}: the columns are {known}, separated by commas"
            ));
        };
        if columns.contains(column) {
            return Err(format!("it has the column {name} twice"));
        }
        columns.push(*column);
    }
    for group in T::REQUIRED {
        if !group.iter().any(|column| columns.contains(column)) {
            return Err(format!("it lacks the column {}", group.join(" or ")));
        }
    }
    Ok(columns)
}

/// The input of the parser: every line break is `\n`, the last line ends with one, and a row has at most [`MAX_ROW_BYTES`].
///
/// The parser counts only `\n` as lines but ends a row at `\r`, so its line numbers would be wrong in a file with `\r\n`. Cells
/// are not changed by this: a notice normalises its line breaks anyway, and no other cell may have any.
struct Source {
    input: Box<dyn Read + Send>,
    /// Bytes read in all.
    bytes: u64,
    /// Bytes that the current row may still have.
    row_budget: usize,
    last: u8,
    /// The parser has read past the end.
    ended: bool,
    /// Bytes that the parser got.
    given: u64,
    quoting: Quoting,
    /// Positions of text behind closing quotes that the parser has not reached yet.
    misquotes: VecDeque<u64>,
}

/// Where in a cell a byte is, as the parser sees it.
#[derive(Clone, Copy)]
enum Quoting {
    Start,
    Unquoted,
    Quoted,
    /// Behind a quote that closes the cell, or is the first of two that stand for one.
    Closed,
    /// Behind blanks after the cell was closed.
    Blank,
}

impl Source {
    fn new(input: Box<dyn Read + Send>) -> Self {
        Self {
            input,
            bytes: 0,
            row_budget: 0,
            last: b'\n',
            ended: false,
            given: 0,
            quoting: Quoting::Start,
            misquotes: VecDeque::new(),
        }
    }
}

impl Source {
    /// Follows the quotes of what the parser gets.
    fn follow_quotes(&mut self, bytes: &[u8]) {
        use Quoting::{Blank, Closed, Quoted, Start, Unquoted};
        for byte in bytes {
            self.quoting = match (self.quoting, byte) {
                // A byte order mark is no part of the first cell.
                (Start, byte) if BYTE_ORDER_MARK.get(self.given as usize) == Some(byte) => Start,
                (Start | Closed, b'"') | (Quoted, 0..b'"' | b'#'..) => Quoted,
                (Quoted, b'"') => Closed,
                (Start | Unquoted | Closed | Blank, b',' | b'\n') => Start,
                (Closed | Blank, b' ' | b'\t') => Blank,
                (Closed | Blank, _) => {
                    self.misquotes.push_back(self.given);
                    Unquoted
                }
                (Start | Unquoted, _) => Unquoted,
            };
            self.given += 1;
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.row_budget == 0 {
            return Err(io::Error::other("it is longer than 1 MiB; is a quote never closed?"));
        }
        loop {
            let count = self.input.read(buffer)?;
            self.bytes += count as u64;
            self.row_budget = self.row_budget.saturating_sub(count);
            if count == 0 {
                if self.last != b'\n' && self.last != b'\r' {
                    self.last = b'\n';
                    buffer[..1].copy_from_slice(b"\n");
                    self.follow_quotes(b"\n");
                    return Ok(1);
                }
                self.ended = true;
                return Ok(0);
            }
            let mut kept = 0;
            for position in 0..count {
                let byte = buffer[position];
                if !(byte == b'\n' && self.last == b'\r') {
                    buffer[kept] = if byte == b'\r' { b'\n' } else { byte };
                    kept += 1;
                }
                self.last = byte;
            }
            // A lone `\n` after a `\r` leaves none, and returning 0 would mean the end of the file.
            if kept > 0 {
                self.follow_quotes(&buffer[..kept]);
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::Notice;

    struct Pair(Option<String>, Option<Notice>);

    impl Record for Pair {
        const COLUMNS: &'static [&'static str] = &["a", "b"];
        const REQUIRED: &'static [&'static [&'static str]] = &[&["a", "b"]];

        fn parse(cells: &Cells<'_>) -> Result<Self, String> {
            Ok(Self(cells.parse("a")?, cells.parse("b")?))
        }
    }

    /// Reads one byte at a time.
    struct Trickle(io::Cursor<Vec<u8>>);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(&mut buffer[..1])
        }
    }

    /// The rows as `line a|b`, or the error.
    fn rows(input: impl Read + Send + 'static) -> Vec<String> {
        let mut file = match File::<Pair>::open(input) {
            Ok(file) => file,
            Err(error) => return vec![error.to_string()],
        };
        let mut rows = Vec::new();
        loop {
            match file.next_row() {
                Ok(None) => return rows,
                Ok(Some(Row { line, record: Ok(Pair(a, b)), .. })) => {
                    let b = b.as_ref().map_or("-", Notice::as_str);
                    rows.push(format!("{line} {}|{b}", a.as_deref().unwrap_or("-")));
                }
                Ok(Some(Row { line, record: Err(reason), .. })) => rows.push(format!("{line} {reason}")),
                Err(error) => {
                    rows.push(error.to_string());
                    return rows;
                }
            }
        }
    }

    #[rstest]
    #[case::plain("a,b\n1,2\n3,4\n", &["2 1|2", "3 3|4"])]
    #[case::no_last_line_break("a,b\n1,2\n3,4", &["2 1|2", "3 3|4"])]
    #[case::carriage_returns("a,b\r\n1,2\r\n\r\n3,4\r\n", &["2 1|2", "4 3|4"])]
    #[case::only_carriage_returns("a,b\r1,2\r3,4\r", &["2 1|2", "3 3|4"])]
    #[case::blank_lines("\n\na,b\n\n1,2\n\n\n3,4\n\n", &["5 1|2", "8 3|4"])]
    #[case::quoted_line_breaks("a,b\n1,\"2\n\n2\"\n3,\"4\r\n4\"\r\n5,6", &["2 1|2\n\n2", "5 3|4\n4", "7 5|6"])]
    #[case::quoted_quotes("a,b\n\"1,\"\"1\",2\n", &["2 1,\"1|2"])]
    #[case::byte_order_mark("\u{feff}a,b\n1,2\n", &["2 1|2"])]
    #[case::byte_order_mark_and_quotes("\u{feff}\"a\",\"b\"\n1,2\n", &["2 1|2"])]
    #[case::another_order("b,a\n1,2\n", &["2 2|1"])]
    #[case::one_column("b\n1\n", &["2 -|1"])]
    #[case::blank_cells("a,b\n , \n\"\",x\n", &["2 -|-", "3 -|x"])]
    #[case::too_few_and_too_many("a,b\n1\n1,2,3\n4,5\n", &[
        "2 it has 1 cells, and the header has 2", "3 it has 3 cells, and the header has 2", "4 4|5",
    ])]
    #[case::bad_value("a,b\n1,x\0\n2,3\n", &["2 b must not contain a NUL character", "3 2|3"])]
    #[case::open_quote("a,b\n1,2\n3,\"4\n5,6\n", &["2 1|2", "the quote that opens in the row of line 3 is never closed"])]
    #[case::open_quote_without_line_break("a,b\n3,\"4", &["the quote that opens in the row of line 2 is never closed"])]
    #[case::closed_quote_at_the_end("a,b\n3,\"4\n\"", &["2 3|4"])]
    #[case::text_behind_a_quote("a,b\n1,\"2\"x\n3,4\n", &["2 there is text behind a closing quote: a quote within quotes must be doubled", "3 3|4"])]
    #[case::escaped_by_backslashes("a,b\n\"A \\\"B\\\" C\",2\n3,\"\"\"4\"\"\"\n", &[
        "2 there is text behind a closing quote: a quote within quotes must be doubled", "3 3|\"4\"",
    ])]
    #[case::text_behind_an_empty_cell("a,b\n\"\"x,2\n", &["2 there is text behind a closing quote: a quote within quotes must be doubled"])]
    #[case::a_quote_behind_blanks("a,b\n1,\"2\" \"3\"\n", &["2 there is text behind a closing quote: a quote within quotes must be doubled"])]
    #[case::text_behind_lines_in_quotes("a,b\n1,\"2\n\n2\"x\n3,4\n", &[
        "2 there is text behind a closing quote: a quote within quotes must be doubled", "5 3|4",
    ])]
    #[case::blanks_behind_a_quote("a,b\n\"1\" ,\"2\"\t\n", &["2 1 |2"])]
    #[case::quotes_within_an_unquoted_cell("a,b\n1,5\" pipe\n", &["2 1|5\" pipe"])]
    #[case::text_behind_a_quote_of_the_header("\"a\"x,b\n1,2\n", &["there is text behind a closing quote: a quote within quotes must be doubled"])]
    #[case::a_file_of_rejected_rows("rejectionReason,a,b\nwhy,1,2\n", &["2 1|2"])]
    #[case::only_a_header("a,b", &[])]
    #[case::empty("", &["it is empty: the first line must name the columns"])]
    #[case::blank("\n\r\n", &["it is empty: the first line must name the columns"])]
    #[case::unknown("a,c\n", &["it has an unknown column \"c\": the columns are a,b, separated by commas"])]
    #[case::doubled("a,b,a\n", &["it has the column a twice"])]
    #[case::semicolons("a;b\n1;2\n", &["it has an unknown column \"a;b\": the columns are a,b, separated by commas"])]
    fn reads(#[case] text: &str, #[case] expected: &[&str], #[values(false, true)] trickle: bool) {
        let input = io::Cursor::new(text.as_bytes().to_vec());
        let rows = if trickle && !text.starts_with('\u{feff}') { rows(Trickle(input)) } else { rows(input) };
        assert_eq!(rows, expected);
    }

    #[test]
    fn rejects_a_row_that_is_not_utf8() {
        assert_eq!(rows(&b"a,b\n\xff,2\n3,4\n"[..]), ["2 it is not UTF-8 text", "3 3|4"]);
        assert_eq!(rows(&b"\xff\xfea\0,\0b\0"[..]), ["its first line is not UTF-8 text"]);
    }

    #[test]
    fn stops_at_a_row_without_end() {
        let input = io::Cursor::new(b"a,b\n1,\"".to_vec()).chain(io::repeat(b'x'));
        let error = "the row of line 2 cannot be read: it is longer than 1 MiB; is a quote never closed?";
        assert_eq!(rows(input), [error]);
    }
}
