//! `customer-match key revoke`

use clap::Args;
use serde_json::json;

use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::error::no_key;
use crate::cli::output::Output;
use crate::db::api_key;

/// Revoke a key permanently. Every running server rejects it within a second
#[derive(Args)]
pub(in crate::cli) struct Revoke {
    /// Id of the key, as `key create` and `key list` print it
    id: i64,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Revoke {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let id = self.id;
        if !with_pool(&self.database, async |pool| Ok(api_key::revoke(pool, id).await?)).await? {
            return Err(no_key(id));
        }
        self.output.print(&json!({ "id": id, "revoked": true }), || format!("Key {id} is revoked."))
    }
}
