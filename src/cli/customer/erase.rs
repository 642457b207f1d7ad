//! `customer-match customer erase`

use clap::Args;
use serde_json::json;

use crate::cli::confirm::Confirm;
use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::organisation_selector::OrganisationSelector;
use crate::cli::output::Output;
use crate::db::customer_erase::{self, Erased};
use crate::domain::CuRefNo;

/// Erase what is stored of a deleted customer, but for its reference and its relations
#[derive(Args)]
pub(in crate::cli) struct Erase {
    /// cuRefNo of the customer
    #[arg(value_name = "CUREFNO")]
    cu_ref_no: CuRefNo,
    /// Organisation of the customer
    #[arg(long, value_name = "ID|NAME", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: OrganisationSelector,
    /// Erase the notices of its relations too, which are the other customers' as well
    #[arg(long)]
    notices: bool,
    /// Print what would be erased, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Erase {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { cu_ref_no, organisation, notices, dry_run, .. } = &self;
        if !dry_run {
            self.confirm.ensure_possible()?;
            let what = if *notices { " and the notices of its relations" } else { "" };
            let question =
                format!("Permanently erase customer {cu_ref_no} of organisation {organisation}{what}?");
            self.confirm.prompt(&question)?;
        }
        let erased = with_pool(&self.database, async |pool| {
            let organisation_id = organisation.find(pool).await?;
            let wanted = customer_erase::Erase { organisation_id, cu_ref_no, notices: *notices };
            let erase = if *dry_run {
                customer_erase::preview(pool, wanted).await
            } else {
                customer_erase::erase(pool, wanted).await
            };
            Ok(erase?)
        })
        .await?;
        let value = json!({
            "dryRun": dry_run, "cuRefNo": cu_ref_no, "fields": erased.fields, "notices": erased.notices,
            "sessions": erased.sessions,
        });
        self.output.print(&value, || self.describe(&erased))
    }

    fn describe(&self, Erased { fields, notices, sessions }: &Erased) -> String {
        let cu_ref_no = &self.cu_ref_no;
        let fields = if fields.is_empty() { "no field".into() } else { fields.join(", ") };
        let what = format!("{fields}; {notices} notice(s), {sessions} session(s)");
        if self.dry_run {
            return format!("Of customer {cu_ref_no} would be erased: {what}.");
        }
        format!(
            "Of customer {cu_ref_no} were erased: {what}.\n\
             Postgres' files, backups and imported files may still have it: see \"Erasing\" in docs/customers.md."
        )
    }
}
