//! The result of a subcommand: text by default, or one JSON document.

use std::fmt::Display;
use std::io::{Write, stderr, stdout};

use anyhow::Context;
use clap::{Args, ValueEnum};
use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use rustix::termios::tcgetwinsize;
use serde::Serialize;

#[derive(Args)]
#[command(next_help_heading = "Result")]
pub(super) struct Output {
    /// Format of the result
    #[arg(long, value_enum, default_value_t = Format::Text, env = "CUSTOMER_MATCH_FORMAT")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Output {
    pub(super) fn print(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Json => serde_json::to_string(value)?,
            Format::Text => text(),
        };
        // Not `println!`, which panics if stdout is closed.
        writeln!(stdout(), "{text}").context("done, but the result could not be printed")
    }

    /// Prints what was created. As text that is `name` alone, so that `$(…)` holds nothing else; the sentence goes to stderr.
    pub(super) fn print_created(
        &self,
        value: &impl Serialize,
        name: impl Display,
        sentence: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        self.print(value, || name.to_string())?;
        if self.format == Format::Text {
            let _ = writeln!(stderr(), "{}", sentence());
        }
        Ok(())
    }
}

/// Formats aligned columns under a header. On a terminal the table is as wide as that, with cells of several lines if need be; in a
/// pipe each row is one line.
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows.clone());
    if let Some(width) = terminal_width() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        let all = rows.iter().map(|row| row.each_ref().map(String::as_str)).chain([header]);
        let words = all.fold([0; N], |longest, row| {
            std::array::from_fn(|index| longest[index].max(longest_word(row[index])))
        });
        // Lines are broken between words, except in the last column, which gets what is left.
        for (column, word) in table.column_iter_mut().zip(&words[..N - 1]) {
            column
                .set_padding((0, 1))
                .set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(word + 1)));
        }
    }
    table.trim_fmt()
}

fn terminal_width() -> Option<u16> {
    let size = tcgetwinsize(stdout()).ok()?;
    // Some terminals do not know their size.
    (size.ws_col > 0).then_some(size.ws_col)
}

fn longest_word(cell: &str) -> u16 {
    let characters = cell.split_whitespace().map(|word| word.chars().count()).max();
    characters.unwrap_or_default().try_into().unwrap_or(u16::MAX)
}
