//! The result of a subcommand: text by default, or one JSON document.

use std::fmt::Display;
use std::io::{Write, stderr, stdout};

use anyhow::Context;
use clap::{Args, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

#[derive(Args)]
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

/// Formats aligned columns under a header.
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    table.trim_fmt()
}
