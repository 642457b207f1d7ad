//! Reads a file as rows of one kind, each with the number of its first line. A file that begins with `{` has a JSON object on each
//! line (NDJSON), any other one is CSV.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::marker::PhantomData;

use csv::{ByteRecord, StringRecord};
use tokio::sync::mpsc;

use super::columns::ColumnNames;
use super::csv_rows::Csv;
use super::formula::guard;
use super::ndjson::{self, Ndjson};
use super::record::{Cells, Record};
use super::{BYTE_ORDER_MARK, FileError, MAX_ROW_BYTES};

/// Rows per batch.
const BATCH: usize = 1000;
/// Batches that are read ahead while one is written.
const AHEAD: usize = 2;

/// Why a row is rejected whose cell goes on behind its closing quote.
const MISQUOTED: &str = "there is text behind a closing quote: a quote within quotes must be doubled";

pub struct Row<T> {
    /// The number of its first line in the file, from 1.
    pub line: u64,
    /// As a CSV file has them.
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

/// A file whose names are valid.
pub struct File<T> {
    reader: Reader,
    names: ColumnNames,
    /// As the file names them.
    header: Vec<String>,
    /// What those of the header are to the import; `None` is not read.
    columns: Vec<Option<&'static str>>,
    kind: PhantomData<T>,
}

enum Reader {
    Csv(Csv),
    Ndjson(Ndjson),
}

impl<T: Record> File<T> {
    /// Reads the header, if it has one.
    pub fn open(input: impl Read + Send + 'static, names: ColumnNames) -> Result<Self, FileError> {
        names.check::<T>().map_err(FileError::Header)?;
        let mut input = BufReader::new(input);
        let start = read_start(&mut input).map_err(|error| FileError::Read(1, error))?;
        let is_json = start.last() == Some(&b'{');
        let input = Box::new(Cursor::new(start).chain(input));
        if is_json {
            let header = names.theirs::<T>();
            let columns = T::COLUMNS.iter().map(|column| Some(*column)).collect();
            let reader = Reader::Ndjson(Ndjson::new(input));
            return Ok(Self { reader, names, header, columns, kind: PhantomData });
        }
        let mut csv = Csv::new(input);
        let mut header = ByteRecord::new();
        if csv.next_record(&mut header)?.is_none() {
            return Err(FileError::Header("it is empty: the first line must name the columns".into()));
        }
        if csv.is_misquoted() {
            return Err(FileError::Header(MISQUOTED.into()));
        }
        let header = StringRecord::from_byte_record(header)
            .map_err(|_| FileError::Header("its first line is not UTF-8 text".into()))?;
        let columns = names.of_header::<T>(header.iter()).map_err(FileError::Header)?;
        let header = header.iter().map(str::to_owned).collect();
        Ok(Self { reader: Reader::Csv(csv), names, header, columns, kind: PhantomData })
    }

    /// The names in the header, in the order of the cells.
    pub fn header(&self) -> &[String] {
        &self.header
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
                let batch = (!rows.is_empty()).then(|| Batch { rows, bytes: self.bytes() });
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
        let (line, cells, text) = match &mut self.reader {
            Reader::Csv(csv) => {
                let mut cells = ByteRecord::new();
                let Some(line) = csv.next_record(&mut cells)? else { return Ok(None) };
                let text = match StringRecord::from_byte_record(cells.clone()) {
                    _ if csv.is_misquoted() => Err(MISQUOTED.into()),
                    Err(_) => Err("it is not UTF-8 text".into()),
                    Ok(text) if text.len() != self.columns.len() => {
                        Err(format!("it has {} cells, and the header has {}", text.len(), self.columns.len()))
                    }
                    Ok(text) => Ok(text),
                };
                (line, cells, text)
            }
            Reader::Ndjson(ndjson) => {
                let Some((line, text)) = ndjson.next_line()? else { return Ok(None) };
                let cells = ndjson::cells::<T>(&text, &self.names);
                let as_bytes = match &cells {
                    Ok(cells) => cells.as_byte_record().clone(),
                    Err(_) => ByteRecord::from(vec![guard(&String::from_utf8_lossy(&text)).as_ref()]),
                };
                (line, as_bytes, cells)
            }
        };
        let record = text.and_then(|record| T::parse(&Cells { columns: &self.columns, record: &record }));
        Ok(Some(Row { line, cells, record }))
    }

    /// Bytes of the file that were read so far.
    fn bytes(&self) -> u64 {
        match &self.reader {
            Reader::Csv(csv) => csv.bytes(),
            Reader::Ndjson(ndjson) => ndjson.bytes,
        }
    }
}

/// The file up to its first byte that is no white space and no byte order mark, that one included. A file without one is no longer
/// than a row may be.
fn read_start(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    for byte in input.take(MAX_ROW_BYTES as u64).bytes() {
        let byte = byte?;
        start.push(byte);
        let marks = start.starts_with(&BYTE_ORDER_MARK[..start.len().min(BYTE_ORDER_MARK.len())])
            && start.len() <= BYTE_ORDER_MARK.len();
        if !marks && !byte.is_ascii_whitespace() {
            break;
        }
    }
    Ok(start)
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
        let mut file = match File::<Pair>::open(input, ColumnNames::default()) {
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
    #[case::unknown("a,c\n", &["it has an unknown column \"c\": the columns are a,b, separated by commas; --map names others"])]
    #[case::doubled("a,b,a\n", &["it has the column a twice"])]
    #[case::semicolons("a;b\n1;2\n", &["it has an unknown column \"a;b\": the columns are a,b, separated by commas; --map names others"])]
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
