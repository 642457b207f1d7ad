//! The pages that repeat what the code knows: the call of the README, the table of the errors.

use customer_match::demo;
use customer_match::domain::ApiKey;
use customer_match::error::ErrorCode;

const README: &str = include_str!("../../README.md");
const ERRORS: &str = include_str!("../../docs/errors.md");

#[test]
fn the_readme_has_the_documented_call() {
    let call = demo::curl("http://127.0.0.1:8080", ApiKey::SAMPLE);
    assert!(README.contains(&call), "{call}");
}

#[test]
fn every_error_is_in_the_table_with_its_status() {
    let rows: Vec<_> = ERRORS.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), ErrorCode::ALL.len());
    for (row, code) in rows.into_iter().zip(ErrorCode::ALL) {
        let entry = code.entry();
        let start = format!("| `{}` | {} |", entry.code, entry.status.as_u16());
        assert!(row.starts_with(&start), "{row} is not the row of {start}");
    }
}
