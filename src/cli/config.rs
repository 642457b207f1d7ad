//! `customer-match config …`

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::Output;
use crate::config;

/// Check settings
#[derive(Subcommand)]
pub(super) enum Config {
    Check(Box<Check>),
}

/// Check the settings of `serve` without starting it
#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: config::Config,
    #[command(flatten)]
    output: Output,
}

impl Config {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Check(check) = self;
        check.config.check()?;
        check.output.print(&json!({ "valid": true }), || "The settings are valid.".into())
    }
}
