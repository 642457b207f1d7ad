//! `customer-match match …`

use clap::{Args, Subcommand};

use futures_util::TryStreamExt;
use serde_json::json;

use super::export::{ExportArgs, Subject};
use super::import::{Import as Work, ImportArgs};
use super::match_list::MatchList;
use super::match_show::MatchShow;
use crate::db::dry_run::DryRun;
use crate::db::export::{self, Relation};
use crate::db::placement::Placements;
use crate::db::{self, Layout};
use crate::domain::{Role, Timestamp};
use crate::group_commit::GroupCommit;
use crate::import::matches::{self, Target};
use crate::import::relation_row::EXPORTED_COLUMNS;

/// Manage relations of two customers
#[derive(Subcommand)]
pub(super) enum CustomerMatch {
    List(MatchList),
    Show(MatchShow),
    Import(Import),
    Export(Export),
}

/// Write all relations to a file that `match import` reads
///
/// Ended ones too, and in the order of their pairs; those of deleted customers are left out. The file shows the relations of one
/// moment.
#[derive(Args)]
pub(super) struct Export {
    #[command(flatten)]
    arguments: ExportArgs,
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
            Self::List(command) => command.run().await,
            Self::Show(command) => command.run().await,
            Self::Import(command) => command.run().await,
            Self::Export(command) => command.run().await,
        }
    }
}

impl Export {
    async fn run(self) -> anyhow::Result<()> {
        let subject = Subject {
            name: "relation(s)",
            columns: &EXPORTED_COLUMNS,
            times: &["createdAt", "matchedAt", "updatedAt", "endedAt"],
        };
        self.arguments
            .run(subject, async |connection, organisation, rows| {
                let mut relations = export::relations(connection, organisation);
                while let Some(relation) = relations.try_next().await? {
                    let Relation { low_cu_ref_no, high_cu_ref_no, notice, .. } = relation;
                    let role = if relation.low_is_manager && relation.high_is_manager {
                        Role::Both
                    } else {
                        Role::Customer
                    };
                    // The manager stands first.
                    let [manager, customer] = if relation.low_is_manager {
                        [low_cu_ref_no, high_cu_ref_no]
                    } else {
                        [high_cu_ref_no, low_cu_ref_no]
                    };
                    let at = |time| json!(Timestamp::from(time));
                    rows.write([
                        json!(manager),
                        json!(customer),
                        json!(role),
                        json!(relation.ended_at.is_none()),
                        json!(notice),
                        at(relation.created_at),
                        at(relation.matched_at),
                        at(relation.updated_at),
                        json!(relation.ended_at.map(Timestamp::from)),
                    ])?;
                }
                Ok(())
            })
            .await
    }
}

impl Import {
    async fn run(self) -> anyhow::Result<()> {
        self.arguments
            .run(async |Work { pool, organisation, dry_run, rows, progress }, summary| {
                let target = if dry_run {
                    Target::DryRun(DryRun::open(pool).await?)
                } else {
                    let options = db::connect_options(pool);
                    let layout = Layout::read(&options).await?;
                    let placements = Placements::new(&options, layout);
                    Target::Database(GroupCommit::start(&options, placements), pool.clone(), layout)
                };
                matches::import(target, organisation, rows, summary, progress).await
            })
            .await
    }
}
