//! What subcommands print: for people by default, one JSON document for machines.

use clap::{Args, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

#[derive(Args)]
pub(super) struct Output {
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text, env = "CUSTOMER_MATCH_FORMAT")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Output {
    /// Prints `value` as JSON, or `text` for people.
    pub(super) fn print(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self.format {
            Format::Json => println!("{}", serde_json::to_string(value)?),
            Format::Text => println!("{}", text()),
        }
        Ok(())
    }
}

/// Columns under a header, aligned.
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    table.trim_fmt()
}
