//! `customer-match customer import`

use clap::Args;

use crate::cli::import::{Import as Work, ImportArgs};
use crate::db::dry_run::DryRun;
use crate::import::customers::{self, Target};

/// Create customers from a CSV file, and fill in missing values of existing ones
///
/// Columns, in any order: email, cuRefNo, firstName, lastName, companyName, phone; email or cuRefNo is required. A row
/// identifies its customer by cuRefNo, or without one by e-mail address. Existing values are not overwritten. An invalid row is
/// reported with its line number, and the other rows are imported; the exit status is then 1.
#[derive(Args)]
pub(in crate::cli) struct Import {
    #[command(flatten)]
    arguments: ImportArgs,
}

impl Import {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        self.arguments
            .run(async |Work { pool, organisation, dry_run, rows, progress }, summary| {
                let target =
                    if dry_run { Target::DryRun(DryRun::open(pool).await?) } else { Target::database(pool) };
                customers::import(target, organisation, rows, summary, progress).await
            })
            .await
    }
}
