//! `customer-match customer delete`

use clap::Args;
use serde_json::json;

use crate::cli::confirm::Confirm;
use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::organisation_selector::OrganisationSelector;
use crate::cli::output::Output;
use crate::db::customer_delete::{self, Deleted};
use crate::domain::{CuRefNo, ProfileText};

/// Delete a customer: hide it everywhere, deactivate its relations, end its sessions
#[derive(Args)]
pub(in crate::cli) struct Delete {
    /// cuRefNo of the customer
    #[arg(value_name = "CUREFNO")]
    cu_ref_no: CuRefNo,
    /// Organisation of the customer
    #[arg(long, value_name = "ID|NAME", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: OrganisationSelector,
    /// Reason, which is stored with the customer
    #[arg(long, value_name = "TEXT")]
    reason: ProfileText,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Delete {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { cu_ref_no, organisation, .. } = &self;
        self.confirm.ensure_possible()?;
        self.confirm
            .prompt(&format!("Permanently delete customer {cu_ref_no} of organisation {organisation}?"))?;
        let Deleted { relations, merged_from } = with_pool(&self.database, async |pool| {
            let organisation = organisation.find(pool).await?;
            Ok(customer_delete::delete(pool, organisation, cu_ref_no, &self.reason).await?)
        })
        .await?;
        let value = json!({
            "cuRefNo": cu_ref_no, "deleted": true, "relationsDeactivated": relations, "mergedFrom": merged_from,
        });
        self.output.print(&value, || {
            let merged = if merged_from.is_empty() {
                String::new()
            } else {
                format!(" It had been merged from {}, which are the same person.", merged_from.join(", "))
            };
            format!(
                "Customer {cu_ref_no} is deleted; {relations} active relation(s) were deactivated.{merged}"
            )
        })
    }
}
