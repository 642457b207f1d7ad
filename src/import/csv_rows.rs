//! Reads the rows of a CSV file.

use std::collections::VecDeque;
use std::io::{self, Read};

use csv::{ByteRecord, ReaderBuilder};

use super::{BYTE_ORDER_MARK, FileError, MAX_ROW_BYTES};

pub(super) struct Csv(csv::Reader<Source>);

impl Csv {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Self {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            // A row with too few or too many cells is rejected like any other invalid row, and reading continues.
            .flexible(true)
            .from_reader(Source::new(input));
        Self(reader)
    }

    /// Bytes of the file that were read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.0.get_ref().bytes
    }

    /// Whether the record that was read last has text behind a closing quote. The parser takes it as part of the cell: of
    /// `"A \"B\" C"` it would make `A \B\" C"`.
    pub(super) fn is_misquoted(&mut self) -> bool {
        let end = self.0.position().byte();
        let misquotes = &mut self.0.get_mut().misquotes;
        let before = misquotes.len();
        while misquotes.pop_front_if(|at| *at < end).is_some() {}
        misquotes.len() < before
    }

    /// Reads a record and returns the number of its first line. The parser's own number is where it began to search, which
    /// differs after blank lines, so the number is computed from where it stopped and from the line breaks in the record.
    pub(super) fn next_record(&mut self, record: &mut ByteRecord) -> Result<Option<u64>, FileError> {
        self.0.get_mut().row_budget = MAX_ROW_BYTES;
        let began = self.0.position().line();
        match self.0.read_byte_record(record) {
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
        let stopped = self.0.position().line();
        // The source always ends with a line break, which ends a record unless a quote is open.
        if self.0.get_ref().ended {
            return Err(FileError::OpenQuote(stopped - breaks));
        }
        Ok(Some(stopped - breaks - 1))
    }
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
