//! The command line: one file a subcommand, with its arguments and what it does.
//!
//! Settings, `--organisation` and `--format` are environment variables too. Arguments of one-shot subcommands are not, so that
//! no value left in an environment decides what a command does.

mod completions;
mod config;
mod confirm;
mod customer;
mod customer_match;
mod database;
mod distribute;
mod error;
mod examples;
mod export;
mod healthcheck;
mod import;
mod key;
mod local_tls;
mod man;
mod match_list;
mod match_show;
mod migrate;
mod openapi;
mod organisation;
mod organisation_selector;
mod output;
mod pgoptions;
mod rejected_rows;
mod replica;
mod serve;
mod signals;
mod start_event;
mod stats;

use std::ffi::OsStr;

use anyhow::Context;
use clap::{Command as Grammar, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::error::report;
use self::examples::with_examples;
use crate::config::Log;
use crate::telemetry::{self, Process};

/// With the commit of the sources.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SOURCE_COMMIT"), ")");

/// An HTTP server for the customer relation of BizKitHub's API.
///
/// Without a subcommand it serves. Without a database URL it runs a private Postgres.
#[derive(Parser)]
#[command(version = VERSION, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Serve,
    #[command(flatten)]
    log: Log,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Migrate(migrate::Migrate),
    Distribute(distribute::Distribute),
    #[command(subcommand)]
    Organisation(organisation::Organisation),
    #[command(subcommand)]
    Key(key::Key),
    #[command(subcommand)]
    Customer(customer::Customer),
    #[command(subcommand)]
    Match(customer_match::CustomerMatch),
    Stats(stats::Stats),
    #[command(subcommand)]
    Config(config::Config),
    Healthcheck(healthcheck::Healthcheck),
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApi),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Cli {
    /// The command line with all that its help has.
    fn grammar() -> Grammar {
        with_examples(Self::command())
    }

    /// Parses the command line and the environment. Prints help or a usage error and exits if that is the result.
    pub fn read() -> Self {
        let mut grammar = without_empty_variables(Self::grammar());
        // Passes `--log-level` on to the subcommands, and gives them their whole names.
        grammar.build();
        let mut grammar = with_plain_usage(grammar);
        let read = grammar.try_get_matches_from_mut(std::env::args_os());
        read.and_then(|matches| Self::from_arg_matches(&matches))
            .unwrap_or_else(|error| error.format(&mut grammar).exit())
    }

    /// Runs the subcommand. [`report`] prints the error.
    pub async fn run(self) -> anyhow::Result<()> {
        pgoptions::discard().context("cannot start again without PGOPTIONS")?;
        let command = self.command.unwrap_or(Command::Serve(self.serve));
        let is_server = matches!(command, Command::Serve(_));
        let process = if is_server { Process::Server } else { Process::Command };
        let _flush = telemetry::init(&self.log, process)?;
        match command {
            Command::Serve(command) => command.run().await,
            Command::Migrate(command) => command.run().await,
            Command::Distribute(command) => command.run().await,
            Command::Organisation(command) => command.run().await,
            Command::Key(command) => command.run().await,
            Command::Customer(command) => command.run().await,
            Command::Match(command) => command.run().await,
            Command::Stats(command) => command.run().await,
            Command::Config(command) => command.run().await,
            Command::Healthcheck(command) => command.run().await,
            Command::OpenApi(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
        }
    }
}

/// Treats empty variables as unset: many tools unset a variable by emptying it.
fn without_empty_variables(grammar: Grammar) -> Grammar {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let grammar =
        grammar.mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(None::<&str>) } else { arg });
    grammar.mut_subcommands(without_empty_variables)
}

/// Shows errors with the usage that the help shows. That of clap's errors has every option that has a value, also from a variable,
/// as if it were required.
fn with_plain_usage(mut grammar: Grammar) -> Grammar {
    let usage = grammar.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    grammar.override_usage(usage).mut_subcommands(with_plain_usage)
}
