//! `customer-match customer delete`

use clap::Args;
use serde_json::json;

use crate::cli::confirm::Confirm;
use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::output::Output;
use crate::db::customer_delete;
use crate::domain::{CuRefNo, ProfileText};

/// Delete a customer: hidden everywhere, its relations from the other side too, its sessions over.
#[derive(Args)]
pub(in crate::cli) struct Delete {
    /// Whom to delete.
    #[arg(value_name = "CUREFNO")]
    cu_ref_no: CuRefNo,
    /// Whose customer.
    #[arg(long, value_name = "ID", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: i64,
    /// Why, for whoever asks later.
    #[arg(long, value_name = "TEXT", env = "CUSTOMER_MATCH_REASON")]
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
            .ask(&format!("Delete customer {cu_ref_no} of organisation {organisation}, for ever?"))?;
        let relations = with_pool(&self.database, async |pool| {
            Ok(customer_delete::delete(pool, *organisation, cu_ref_no, &self.reason).await?)
        })
        .await?;
        let value = json!({ "cuRefNo": cu_ref_no, "deleted": true, "relationsDeactivated": relations });
        self.output.print(&value, || {
            format!("Customer {cu_ref_no} is deleted; {relations} active relation(s) are deactivated.")
        })
    }
}
