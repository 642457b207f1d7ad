//! `customer-match key set-limit`

use anyhow::bail;
use chrono::Utc;
use clap::Args;
use serde_json::json;

use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::output::Output;
use crate::config::limit_per_minute;
use crate::db::{self, api_key};

/// Change how many calls a key may make. Every running server knows within a second.
#[derive(Args)]
pub(in crate::cli) struct SetLimit {
    /// As `key create` and `key list` show it.
    id: i64,
    /// Calls within any minute. Without it as many as the server allows keys of this kind.
    #[arg(long, value_name = "N", env = "CUSTOMER_MATCH_KEY_LIMIT_PER_MINUTE", value_parser = limit_per_minute())]
    limit_per_minute: Option<u32>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl SetLimit {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { id, limit_per_minute, .. } = self;
        with_pool(&self.database, async |pool| {
            let states = api_key::find_many(&mut *pool.acquire().await?, &[id]).await?;
            let Some(state) = states.get(&id) else { bail!("there is no key {id}") };
            if state.deleted_at.is_some() {
                bail!("key {id} was revoked, for ever: it makes no calls");
            }
            if state.expires_at.is_some_and(|at| at <= Utc::now()) {
                bail!("key {id} has expired: it makes no calls");
            }
            match api_key::set_limit(pool, id, limit_per_minute).await {
                Err(error) if db::violates(&error, api_key::ROOT_IS_UNLIMITED) => {
                    bail!("key {id} is of the kind root, which is not limited")
                }
                result => result.map(drop).map_err(Into::into),
            }
        })
        .await?;
        self.output.print(&json!({ "id": id, "limitPerMinute": limit_per_minute }), || match limit_per_minute
        {
            Some(limit) => format!("Key {id} may make {limit} calls a minute."),
            None => format!("Key {id} may make as many calls as its kind."),
        })
    }
}
