//! Texts that a spreadsheet would take for a formula.
//!
//! A notice `=HYPERLINK(…)` comes from anybody who may write notices, and is executed where an operator opens a CSV file that has it. So such
//! a cell gets an apostrophe in front, which spreadsheets read as "text follows" (OWASP, CSV injection), and an import takes it away
//! again. Odoo writes its exports in the same way.

use std::borrow::Cow;

/// Those of full width count in East Asian spreadsheets.
const STARTS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// As a cell of a CSV file. Apostrophes that the text has before such a start get one more, so that [`unguard`] restores each text.
pub fn guard(text: &str) -> Cow<'_, str> {
    if text.trim_start_matches('\'').starts_with(STARTS) { format!("'{text}").into() } else { text.into() }
}

/// The text of a cell.
pub fn unguard(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(text) if text.trim_start_matches('\'').starts_with(STARTS) => text,
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back_and_none_is_a_formula(text in "['=+@＝\\-a ]{0,6}") {
            let cell = guard(&text);
            prop_assert!(!cell.starts_with(STARTS), "{cell}");
            prop_assert_eq!(unguard(&cell), &text);
        }
    }

    #[test]
    fn a_cell_without_a_guard_is_its_text() {
        for text in ["=1", "+420 601 234 567", "'tis", "O'Brien", "'", ""] {
            assert_eq!(unguard(text), text);
        }
        assert_eq!(guard("'tis"), "'tis");
        assert_eq!(unguard("'+420 601 234 567"), "+420 601 234 567");
    }
}
