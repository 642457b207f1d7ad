//! `customer-match customer merge`

use std::fmt::Write as _;
use std::io::{Write as _, stderr};

use clap::Args;
use serde_json::json;

use crate::cli::confirm::Confirm;
use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::organisation_selector::OrganisationSelector;
use crate::cli::output::Output;
use crate::db::customer_merge::{self, Merged};
use crate::domain::CuRefNo;

/// Merge two customers that are one person: move everything of LEGACY to FINAL and delete LEGACY
#[derive(Args)]
pub(in crate::cli) struct Merge {
    /// cuRefNo of the customer that is deleted
    legacy: CuRefNo,
    /// cuRefNo of the customer that remains
    #[arg(value_name = "FINAL")]
    survivor: CuRefNo,
    /// Organisation of both customers
    #[arg(long, value_name = "ID|NAME", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: OrganisationSelector,
    /// Print what the merge would do, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Merge {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if !self.dry_run {
            self.confirm.ensure_possible()?;
        }
        let merged = with_pool(&self.database, async |pool| {
            let wanted = customer_merge::Merge {
                organisation_id: self.organisation.find(pool).await?,
                legacy: &self.legacy,
                survivor: &self.survivor,
            };
            if self.dry_run {
                return Ok(customer_merge::preview(pool, wanted).await?);
            }
            if self.confirm.needs_prompt() {
                let preview = customer_merge::preview(pool, wanted).await?;
                writeln!(stderr(), "{}", self.describe(&preview, true))?;
            }
            self.confirm.prompt("Merge them permanently?")?;
            Ok(customer_merge::merge(pool, wanted).await?)
        })
        .await?;
        let value = json!({
            "dryRun": self.dry_run, "legacy": self.legacy, "final": self.survivor,
            "relations": merged.relations, "joined": merged.joined,
            "selfRelationEnded": merged.self_relation, "filled": merged.filled,
        });
        self.output.print(&value, || self.describe(&merged, self.dry_run))
    }

    fn describe(&self, merged: &Merged, preview: bool) -> String {
        let Self { legacy, survivor, .. } = self;
        let Merged { relations, joined, .. } = merged;
        let mut text = if preview {
            format!("Customer {legacy} would be merged into {survivor}:")
        } else {
            format!("Customer {legacy} is merged into {survivor}:")
        };
        // Writing to a String cannot fail.
        let _ =
            write!(text, "\n  {relations} relation(s) move, {} of them into an existing one", joined.len());
        for other in joined {
            let _ = write!(text, "\n    merged into the relation with {other}");
        }
        if merged.self_relation {
            text += "\n  their relation with each other ends";
        }
        if !merged.filled.is_empty() {
            let _ = write!(text, "\n  filled in: {}", merged.filled.join(", "));
        }
        text
    }
}
