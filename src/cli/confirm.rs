//! The confirmation of an action that cannot be undone.
//!
//! `--yes` has no environment variable, unlike settings: one left in the environment of a service would confirm every
//! deletion.

use std::io::{IsTerminal, Write, stderr, stdin};

use anyhow::bail;
use clap::Args;

use super::error::usage_error;

#[derive(Args)]
pub(super) struct Confirm {
    /// Confirm without a prompt
    #[arg(long)]
    yes: bool,
}

impl Confirm {
    /// Fails without a terminal to prompt on. Called before the database is opened, which may start one.
    pub(super) fn ensure_possible(&self) -> anyhow::Result<()> {
        if !self.yes && !stdin().is_terminal() {
            return Err(usage_error(
                "this cannot be undone, and there is no terminal for a confirmation: pass --yes to confirm",
            ));
        }
        Ok(())
    }

    pub(super) fn needs_prompt(&self) -> bool {
        !self.yes
    }

    /// Prompts on the terminal unless `--yes` was given. Any answer but yes is an error.
    pub(super) fn prompt(&self, question: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        write!(stderr(), "{question} [y/N] ")?;
        stderr().flush()?;
        let mut answer = String::new();
        stdin().read_line(&mut answer)?;
        if !["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            bail!("not confirmed: nothing was changed");
        }
        Ok(())
    }
}
