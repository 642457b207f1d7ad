//! `customer-match match …`

use clap::{Args, Subcommand};

use super::import::{Import as Work, ImportArgs};
use crate::db;
use crate::db::dry_run::DryRun;
use crate::group_commit::GroupCommit;
use crate::import::matches::{self, Target};

/// Manage relations of two customers
#[derive(Subcommand)]
pub(super) enum CustomerMatch {
    Import(Import),
}

/// Match customers from a file, by the rules of the endpoint
///
/// Columns, in any order: managerCuRefNo, customerCuRefNo, customerEmail, role, active, notice; managerCuRefNo is required, and one
/// of the next two. A blank notice keeps the stored one. With the role "both" the customer is a manager too. A row with active
/// "false" ends the relation. An invalid row is reported with its line number, and the other rows are imported; the exit status
/// is then 1.
#[derive(Args)]
pub(super) struct Import {
    #[command(flatten)]
    arguments: ImportArgs,
}

impl CustomerMatch {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Import(command) => command.run().await,
        }
    }
}

impl Import {
    async fn run(self) -> anyhow::Result<()> {
        self.arguments
            .run(async |Work { pool, organisation, dry_run, rows, progress }, summary| {
                let target = if dry_run {
                    Target::DryRun(DryRun::open(pool).await?)
                } else {
                    Target::Database(GroupCommit::start(&db::connect_options(pool)), pool.clone())
                };
                matches::import(target, organisation, rows, summary, progress).await
            })
            .await
    }
}
