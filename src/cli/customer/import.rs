//! `customer-match customer import`

use clap::Args;

use crate::cli::import::{Import as Work, ImportArgs};
use crate::db::dry_run::DryRun;
use crate::import::customers::{self, Target};

/// Create customers from a CSV file, and fill in what existing ones lack.
///
/// Columns, in any order: email, cuRefNo, firstName, lastName, companyName, phone; email or cuRefNo must be there. A row is
/// about the customer of its cuRefNo, or without one of its e-mail. Values that a customer has are not overwritten. A row
/// that cannot be taken is reported with its line and does not hinder the others; the exit status is then 1.
#[derive(Args)]
pub(in crate::cli) struct Import {
    #[command(flatten)]
    arguments: ImportArgs,
}

impl Import {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        self.arguments
            .run(async |Work { pool, organisation, dry_run, rows, bar }, summary| {
                let target =
                    if dry_run { Target::DryRun(DryRun::open(pool).await?) } else { Target::database(pool) };
                customers::import(target, organisation, rows, summary, bar).await
            })
            .await
    }
}
