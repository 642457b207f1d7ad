//! `customer-match key extend`

use anyhow::{Context, bail};
use chrono::Utc;
use clap::Args;
use serde_json::json;

use super::{CHANGED_MEANWHILE, find};
use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::output::Output;
use crate::db::api_key;
use crate::domain::{KeyStatus, Timestamp};

/// Let a key expire later. One that has expired works again
#[derive(Args)]
pub(in crate::cli) struct Extend {
    /// Id of the key, as `key create` and `key list` print it
    id: i64,
    /// Days to add; from now on if the key has expired
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=36_500))]
    days: i32,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Extend {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let id = self.id;
        let expires_at = with_pool(&self.database, async |pool| {
            let key = find(pool, id).await?;
            if key.status(Utc::now()) == KeyStatus::Revoked {
                bail!("key {id} was revoked, which is permanent");
            }
            if key.expires_at.is_none() {
                bail!("key {id} never expires");
            }
            api_key::extend(pool, id, self.days).await?.context(CHANGED_MEANWHILE)
        })
        .await?;
        let expires_at = Timestamp::from(expires_at);
        self.output.print(&json!({ "id": id, "expiresAt": expires_at }), || {
            format!("Key {id} expires {expires_at}.")
        })
    }
}
