//! `customer-match config …`

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::time::error::Elapsed;

use super::database::Database;
use super::error::one_line;
use super::output::Output;
use crate::{config, db};

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
        let unreachable = match check.config.database.connect_options()? {
            Some(options) => {
                let database = Database { options, private: None };
                let check = async {
                    database.check().await?;
                    database.check_durability(check.config.start.allow_data_loss).await
                };
                check.await.err()
            }
            None => None,
        };
        let may_be_reachable_later = |cause: &(dyn std::error::Error + 'static)| {
            cause.is::<Elapsed>() || cause.downcast_ref().is_some_and(db::is_transient)
        };
        if let Some(error) = &unreachable
            && !error.chain().any(may_be_reachable_later)
        {
            bail!(one_line(error));
        }
        check.output.print(&json!({ "valid": true, "databaseChecked": unreachable.is_none() }), || {
            let unchecked =
                unreachable.map(|error| format!(" The database was not checked: {}.", one_line(&error)));
            format!("The settings are valid.{}", unchecked.unwrap_or_default())
        })
    }
}
