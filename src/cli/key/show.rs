//! `customer-match key show`

use chrono::Utc;
use clap::Args;

use super::{find, shown};
use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::output::{Output, table};

/// Show what a key may do and how long, masked
#[derive(Args)]
pub(in crate::cli) struct Show {
    /// Id of the key, as `key create` and `key list` print it
    id: i64,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Show {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let key = with_pool(&self.database, async |pool| find(pool, self.id).await).await?;
        let now = Utc::now();
        self.output.print(&shown::to_json(&key, now), || {
            let rows = [
                ("id", key.id.to_string()),
                ("organisation", format!("{} \"{}\"", key.organisation_id, key.organisation)),
                ("kind", shown::kind(&key)),
                ("state", key.status(now).as_str().into()),
                ("scopes", shown::scopes(&key)),
                ("limit a minute", shown::limit(&key)),
                ("allowed origins", shown::origins(&key)),
                ("limit a client", shown::client_limit(&key)),
                ("created", shown::time_or_never(Some(key.created_at))),
                ("last used", shown::last_use(&key)),
                ("expires", shown::time_or_never(key.expires_at)),
                ("revoked", shown::time_or_never(key.deleted_at)),
                ("description", key.description.clone()),
            ];
            table(["KEY", &key.mask], rows.map(|(name, value)| [name.into(), value]))
        })
    }
}
