//! `customer-match completions`

use std::io::{Write, stdout};

use clap::Args;
use clap_complete::{Shell, generate};

use super::Cli;

/// Print the completions of a shell, to be put where it looks for them
#[derive(Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::grammar(), "customer-match", &mut script);
        Ok(stdout().write_all(&script)?)
    }
}
