//! `customer-match key list`

use chrono::Utc;
use clap::Args;

use super::shown;
use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::organisation_selector::OrganisationSelector;
use crate::cli::output::{Output, table};
use crate::db::api_key;

/// List the keys of an organisation, masked
#[derive(Args)]
pub(in crate::cli) struct List {
    /// Organisation that the keys belong to
    #[arg(
        long,
        value_name = "ID|NAME",
        env = "CUSTOMER_MATCH_ORGANISATION",
        required_unless_present = "all"
    )]
    organisation: Option<OrganisationSelector>,
    /// List the keys of all organisations
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl List {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // The organisation may be a variable that is always set.
        let organisation = self.organisation.filter(|_| !self.all);
        let keys = with_pool(&self.database, async |pool| {
            let id = match &organisation {
                Some(organisation) => Some(organisation.find(pool).await?),
                None => None,
            };
            Ok(api_key::list(pool, id).await?)
        })
        .await?;
        let now = Utc::now();
        let items: Vec<_> = keys.iter().map(|key| shown::to_json(key, now)).collect();
        self.output.print(&items, || {
            let rows = keys.iter().map(|key| {
                [
                    key.id.to_string(),
                    key.mask.clone(),
                    shown::kind(key),
                    key.status(now).as_str().into(),
                    shown::scopes(key),
                    shown::limit(key),
                    shown::last_use(key),
                    shown::time_or_never(key.expires_at),
                    key.description.clone(),
                ]
            });
            if organisation.is_some() {
                return table(HEADER, rows);
            }
            let organisations = keys.iter().map(|key| key.organisation.clone());
            let rows = organisations.zip(rows).map(|(organisation, row)| after_first(row, organisation));
            table(after_first(HEADER, "ORGANISATION"), rows)
        })
    }
}

const HEADER: [&str; 9] =
    ["ID", "KEY", "KIND", "STATE", "SCOPES", "LIMIT", "LAST USED", "EXPIRES", "DESCRIPTION"];

fn after_first<T>([a, b, c, d, e, f, g, h, i]: [T; 9], second: T) -> [T; 10] {
    [a, second, b, c, d, e, f, g, h, i]
}
