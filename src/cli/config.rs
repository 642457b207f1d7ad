//! `customer-match config …`

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::database::{Database, may_be_reachable_later};
use super::error::one_line;
use super::output::Output;
use super::replica;
use crate::config;

/// Check settings
#[derive(Subcommand)]
pub(super) enum Config {
    Check(Box<Check>),
}

/// Check the settings of `serve` without starting it, and whether the database that they name can be used
#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: config::Config,
    #[command(flatten)]
    output: Output,
}

impl Config {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self::Check(check) = self;
        check.config.check()?;
        // The private Postgres is durable and not started for this.
        let Some(options) = check.config.database.connect_options()? else {
            return check.report(None, None);
        };
        let database = Database { options, private: None };
        let on_database = async {
            database.check().await?;
            database.check_durability(check.config.start.allow_data_loss).await
        };
        let database_unchecked = unless_reachable(on_database.await)?;
        let replica_unchecked = match check.config.replica.connect_options()? {
            Some(options) => unless_reachable(replica::check(&database, options).await)?,
            None => None,
        };
        check.report(database_unchecked, replica_unchecked)
    }
}

/// Why a check could not be made now; an error if that will not change.
fn unless_reachable(checked: anyhow::Result<()>) -> anyhow::Result<Option<anyhow::Error>> {
    match checked {
        Err(error) if may_be_reachable_later(&error) => Ok(Some(error)),
        Err(error) => bail!(one_line(&error)),
        Ok(()) => Ok(None),
    }
}

impl Check {
    /// With why the database and the replica were not checked.
    fn report(&self, database: Option<anyhow::Error>, replica: Option<anyhow::Error>) -> anyhow::Result<()> {
        let mut json = json!({ "valid": true, "databaseChecked": database.is_none() });
        if self.config.replica.connect_options()?.is_some() {
            json["replicaChecked"] = replica.is_none().into();
        }
        self.output.print(&json, || {
            let mut text = "The settings are valid.".to_owned();
            for (name, unchecked) in [("database", database), ("replica", replica)] {
                if let Some(error) = unchecked {
                    text += &format!(" The {name} was not checked: {}.", one_line(&error));
                }
            }
            text
        })
    }
}
