//! `customer-match key …`

mod create;
mod limit;
mod list;
mod revoke;

use clap::Subcommand;

/// API keys.
#[derive(Subcommand)]
pub(super) enum Key {
    Create(create::Create),
    Limit(limit::Limit),
    List(list::List),
    Revoke(revoke::Revoke),
}

impl Key {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(command) => command.run().await,
            Self::Limit(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Revoke(command) => command.run().await,
        }
    }
}
