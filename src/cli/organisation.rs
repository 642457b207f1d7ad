//! `customer-match organisation …`

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use super::database::{DatabaseArgs, with_pool};
use super::output::{Output, table};
use crate::db::organisation;
use crate::domain::ProfileText;

/// Manage organisations, which own keys and customers
#[derive(Subcommand)]
pub(super) enum Organisation {
    Create(Create),
    List(List),
}

/// Create an organisation and print its id, alone on stdout
#[derive(Args)]
pub(super) struct Create {
    /// Name of the organisation; unique
    name: ProfileText,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

/// List all organisations
#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Organisation {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(command) => command.run().await,
            Self::List(command) => command.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> anyhow::Result<()> {
        let name = self.name.as_str();
        let created =
            with_pool(&self.database, async |pool| Ok(organisation::create(pool, name).await?)).await?;
        let created = created.with_context(|| format!("an organisation named \"{name}\" exists already"))?;
        self.output.print_created(&json!({ "id": created.id, "name": created.name }), created.id, || {
            format!("Organisation {} \"{}\" created.", created.id, created.name)
        })
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let list = with_pool(&self.database, async |pool| Ok(organisation::list(pool).await?)).await?;
        let items: Vec<_> = list.iter().map(|item| json!({ "id": item.id, "name": item.name })).collect();
        self.output.print(&items, || {
            table(["ID", "NAME"], list.iter().map(|item| [item.id.to_string(), item.name.clone()]))
        })
    }
}
