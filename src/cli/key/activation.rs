//! `customer-match key disable` and `key enable`

use anyhow::{bail, ensure};
use chrono::Utc;
use clap::Args;
use serde_json::json;

use super::{CHANGED_MEANWHILE, find};
use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::output::Output;
use crate::db::api_key;
use crate::domain::KeyStatus;

#[derive(Args)]
pub(in crate::cli) struct Activation {
    /// Id of the key, as `key create` and `key list` print it
    id: i64,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Activation {
    pub(super) async fn set(self, active: bool) -> anyhow::Result<()> {
        let id = self.id;
        with_pool(&self.database, async |pool| {
            if find(pool, id).await?.status(Utc::now()) == KeyStatus::Revoked {
                bail!("key {id} was revoked, which is permanent");
            }
            ensure!(api_key::set_active(pool, id, active).await?, CHANGED_MEANWHILE);
            Ok(())
        })
        .await?;
        self.output.print(&json!({ "id": id, "active": active }), || {
            if active { format!("Key {id} is enabled.") } else { format!("Key {id} is disabled.") }
        })
    }
}
