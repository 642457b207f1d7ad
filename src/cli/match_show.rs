//! `customer-match match show`

use anyhow::Context;
use clap::Args;

use super::database::{DatabaseArgs, with_pool};
use super::organisation_selector::OrganisationSelector;
use super::output::{Output, table};
use crate::db::{Layout, customer_match};
use crate::domain::CuRefNo;

/// Show the relation of two customers, active or ended
#[derive(Args)]
pub(super) struct MatchShow {
    /// cuRefNo of the one whose view is shown
    #[arg(value_name = "CUREFNO")]
    manager: CuRefNo,
    /// cuRefNo of the other
    #[arg(value_name = "CUREFNO")]
    customer: CuRefNo,
    /// Organisation of both customers
    #[arg(long, value_name = "ID|NAME", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: OrganisationSelector,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl MatchShow {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let relation = with_pool(&self.database, async |pool| {
            let organisation = self.organisation.find(pool).await?;
            let mut connection = pool.acquire().await?;
            let layout = Layout::read_on(&mut connection).await?;
            let found =
                customer_match::find(&mut connection, layout, organisation, &self.manager, &self.customer)
                    .await?;
            found.with_context(|| {
                let Self { organisation, manager, customer, .. } = &self;
                format!("organisation {organisation} has no relation of {manager} and {customer}")
            })
        })
        .await?;
        self.output.print(&relation, || {
            let state = if relation.active { "active" } else { "ended" };
            let rows = [
                (format!("{} is", self.customer), relation.role.as_str().into()),
                ("state".into(), state.into()),
                ("notice".into(), relation.notice.clone().unwrap_or_default()),
                ("created".into(), relation.created_at.to_string()),
                ("matched".into(), relation.matched_at.to_string()),
                ("updated".into(), relation.updated_at.to_string()),
                ("ended".into(), relation.ended_at.as_ref().map_or("never".into(), ToString::to_string)),
                ("version".into(), relation.version.to_string()),
            ];
            let header = [format!("TO {}", self.manager), String::new()];
            table(header.each_ref().map(String::as_str), rows.map(|(name, value)| [name, value]))
        })
    }
}
