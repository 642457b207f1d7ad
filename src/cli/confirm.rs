//! The question before what cannot be undone.

use std::io::{IsTerminal, Write, stderr, stdin};

use anyhow::bail;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

#[derive(Args)]
pub(super) struct Confirm {
    /// Do it without asking.
    #[arg(long, env = "CUSTOMER_MATCH_YES", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    yes: bool,
}

impl Confirm {
    /// Fails at once where nobody could be asked: before a database is opened for nothing.
    pub(super) fn ensure_possible(&self) -> anyhow::Result<()> {
        if !self.yes && !stdin().is_terminal() {
            bail!("this cannot be undone and there is no terminal to ask on: say --yes to do it");
        }
        Ok(())
    }

    /// Whether [`Self::ask`] will ask.
    pub(super) fn will_ask(&self) -> bool {
        !self.yes
    }

    /// Asks on the terminal; anything but a yes ends the subcommand with nothing done.
    pub(super) fn ask(&self, question: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        write!(stderr(), "{question} [y/N] ")?;
        stderr().flush()?;
        let mut answer = String::new();
        stdin().read_line(&mut answer)?;
        if !["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            bail!("nothing was done");
        }
        Ok(())
    }
}
