//! The command line: one file a subcommand, its arguments and what it does.
//!
//! Every option is also a variable of the environment, named in `--help`.

mod config;
mod confirm;
mod customer;
mod customer_match;
mod database;
mod healthcheck;
mod import;
mod key;
mod local_tls;
mod migrate;
mod openapi;
mod organisation;
mod output;
mod serve;

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::{Command as Grammar, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{ConfigError, Log};
use crate::telemetry;

/// An HTTP server for the customer relation of BizKitHub's API.
///
/// Without a subcommand it serves. Without a database URL it starts and keeps a private Postgres of its own.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
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
    #[command(subcommand)]
    Organisation(organisation::Organisation),
    #[command(subcommand)]
    Key(key::Key),
    #[command(subcommand)]
    Customer(customer::Customer),
    #[command(subcommand)]
    Match(customer_match::CustomerMatch),
    #[command(subcommand)]
    Config(config::Config),
    Healthcheck(healthcheck::Healthcheck),
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApi),
}

impl Cli {
    /// Reads the command line, and from the environment what is not on it. Ends the process with help or an error if that is
    /// what there is to say.
    pub fn read() -> Self {
        let mut grammar = without_empty_variables(Self::command());
        let read = grammar.try_get_matches_from_mut(std::env::args_os());
        read.and_then(|matches| Self::from_arg_matches(&matches))
            .unwrap_or_else(|error| error.format(&mut grammar).exit())
    }

    /// Does what the command line says; the error is one line for whoever typed it.
    pub async fn run(self) -> anyhow::Result<()> {
        let _flush = telemetry::init(&self.log)?;
        match self.command.unwrap_or(Command::Serve(self.serve)) {
            Command::Serve(command) => command.run().await,
            Command::Migrate(command) => command.run().await,
            Command::Organisation(command) => command.run().await,
            Command::Key(command) => command.run().await,
            Command::Customer(command) => command.run().await,
            Command::Match(command) => command.run().await,
            Command::Config(command) => command.run(),
            Command::Healthcheck(command) => command.run().await,
            Command::OpenApi(command) => command.run(),
        }
    }
}

/// An empty variable is how many a tool unsets one.
fn without_empty_variables(grammar: Grammar) -> Grammar {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let grammar =
        grammar.mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(None::<&str>) } else { arg });
    grammar.mut_subcommands(without_empty_variables)
}

/// What was typed cannot be meant, which clap could not know: a file that is not there, say. Nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct UsageError(anyhow::Error);

/// The exit status for an error: that of clap for usage, else 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let usage = error.is::<UsageError>() || error.is::<ConfigError>();
    if usage { ExitCode::from(2) } else { ExitCode::FAILURE }
}
