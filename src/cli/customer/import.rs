//! `customer-match customer import`

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::cli::import::{Import as Work, ImportArgs};
use crate::db::customer_import::{EMAIL, FIELDS};
use crate::db::dry_run::DryRun;
use crate::import::customers::{self, Target};
use crate::import::plan::Existing;

/// Create customers from a file, and fill in missing values of existing ones
///
/// Columns, in any order: cuRefNo, email, firstName, lastName, companyName, phone, companyRegistrationNumber,
/// taxIdentificationNumber, customerRealIp; email or cuRefNo is required. A row identifies its customer by cuRefNo, or without
/// one by e-mail address. Existing values are not overwritten, unless --overwrite is given. An invalid row is reported with its
/// line number, and the other rows are imported; the exit status is then 1.
#[derive(Args)]
pub(in crate::cli) struct Import {
    #[command(flatten)]
    arguments: ImportArgs,
    /// Replace stored values with those of the file, and report each one; blank cells keep them
    #[arg(long)]
    overwrite: bool,
    /// With --overwrite, blank cells of this column clear the stored value; may be repeated
    #[arg(long, value_name = "COLUMN", requires = "overwrite", value_parser = PossibleValuesParser::new(&FIELDS[EMAIL + 1..]))]
    clear: Vec<String>,
}

impl Import {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let existing = match self.overwrite {
            false => Existing::Keep,
            true => Existing::Overwrite {
                cleared_by_blanks: FIELDS.map(|field| self.clear.iter().any(|name| name == field)),
            },
        };
        self.arguments
            .run(async |Work { pool, organisation, dry_run, rows, progress }, summary| {
                let target =
                    if dry_run { Target::DryRun(DryRun::open(pool).await?) } else { Target::database(pool) };
                customers::import(target, organisation, rows, existing, summary, progress).await
            })
            .await
    }
}
