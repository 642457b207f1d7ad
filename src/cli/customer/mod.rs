//! `customer-match customer …`

mod create;
mod delete;
mod export;
mod import;
mod merge;

use clap::Subcommand;

/// Manage the customers of an organisation
#[derive(Subcommand)]
pub(super) enum Customer {
    Create(create::Create),
    Delete(delete::Delete),
    Export(export::Export),
    Import(import::Import),
    Merge(merge::Merge),
}

impl Customer {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(command) => command.run().await,
            Self::Delete(command) => command.run().await,
            Self::Export(command) => command.run().await,
            Self::Import(command) => command.run().await,
            Self::Merge(command) => command.run().await,
        }
    }
}
