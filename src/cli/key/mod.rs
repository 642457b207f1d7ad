//! `customer-match key …`

mod create;
mod list;
mod revoke;
mod set_limit;

use clap::Subcommand;

/// Manage API keys
#[derive(Subcommand)]
pub(super) enum Key {
    Create(create::Create),
    SetLimit(set_limit::SetLimit),
    List(list::List),
    Revoke(revoke::Revoke),
}

impl Key {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(command) => command.run().await,
            Self::SetLimit(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Revoke(command) => command.run().await,
        }
    }
}
