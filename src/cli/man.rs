//! `customer-match man`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::Cli;
use super::error::UsageError;

/// Write the man pages, one for each subcommand
#[derive(Args)]
pub(super) struct Man {
    /// Directory that gets them
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> anyhow::Result<()> {
        clap_mangen::generate_to(Cli::grammar(), &self.directory)
            .with_context(|| format!("cannot write to {}", self.directory.display()))
            .map_err(|error| UsageError(error).into())
    }
}
