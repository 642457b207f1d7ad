//! CSV files of customers and of matches: every row has a result and a line, however the file comes.
#![no_main]

use std::io::{Cursor, Read};

use customer_match::import::customer_row::CustomerRow;
use customer_match::import::file::{File, Record};
use customer_match::domain::Match;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check::<CustomerRow>(bytes);
    check::<Match>(bytes);
});

fn check<T: Record>(bytes: &[u8]) {
    let rows = read::<T>(Cursor::new(bytes.to_vec()));
    let lines = 1 + bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64;
    let numbers: Vec<u64> = rows.iter().filter_map(|row| row.as_ref().ok()).map(|(line, _)| *line).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "a row is on a line of its own: {numbers:?}");
    assert!(numbers.iter().all(|line| (2..=lines).contains(line)), "{numbers:?} of {lines}");
    // A byte order mark is looked for in what the first read gives.
    if !bytes.starts_with(b"\xef\xbb\xbf") {
        assert_eq!(
            read::<T>(Trickle(Cursor::new(bytes.to_vec()))),
            rows,
            "it depends on how the file is read"
        );
    }
    if !bytes.contains(&b'\r') {
        let windows: Vec<u8> = bytes
            .iter()
            .flat_map(|byte| match byte {
                b'\n' => &b"\r\n"[..],
                other => std::slice::from_ref(other),
            })
            .copied()
            .collect();
        assert_eq!(read::<T>(Cursor::new(windows)), rows, "it depends on the line ends");
    }
}

/// The rows with the reasons of rejected ones, and at the end the error if there is one.
fn read<T: Record>(input: impl Read + Send + 'static) -> Vec<Result<(u64, Option<String>), String>> {
    let mut file = match File::<T>::open(input) {
        Ok(file) => file,
        Err(error) => return vec![Err(error.to_string())],
    };
    let mut rows = Vec::new();
    loop {
        match file.next_row() {
            Ok(Some(row)) => rows.push(Ok((row.line, row.record.err()))),
            Ok(None) => return rows,
            Err(error) => {
                rows.push(Err(error.to_string()));
                return rows;
            }
        }
    }
}

/// Gives one byte at a time.
struct Trickle(Cursor<Vec<u8>>);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(&mut buffer[..1])
    }
}
