//! `customer-match key set-limit`

use anyhow::bail;
use chrono::Utc;
use clap::Args;
use serde_json::json;

use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::error::no_key;
use crate::cli::output::Output;
use crate::config::limit_per_minute;
use crate::db::{self, api_key};
use crate::domain::KeyStatus;

/// Set the rate limit of a key. It takes effect on every running server within a second
#[derive(Args)]
pub(in crate::cli) struct SetLimit {
    /// Id of the key, as `key create` and `key list` print it
    id: i64,
    /// Calls within any minute [default: the limit of its kind, a setting of the server]
    #[arg(long, value_name = "N", value_parser = limit_per_minute())]
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
            let Some(state) = states.get(&id) else { return Err(no_key(id)) };
            match state.status(Utc::now()) {
                KeyStatus::Revoked => bail!("key {id} was revoked: it cannot make calls"),
                KeyStatus::Expired => bail!("key {id} has expired: it cannot make calls"),
                KeyStatus::Active | KeyStatus::Inactive => {}
            }
            match api_key::set_limit(pool, id, limit_per_minute).await {
                Err(error) if db::violates(&error, api_key::ROOT_IS_UNLIMITED) => {
                    bail!("key {id} is of the kind root, which has no limit")
                }
                result => result.map(drop).map_err(Into::into),
            }
        })
        .await?;
        self.output.print(&json!({ "id": id, "limitPerMinute": limit_per_minute }), || match limit_per_minute
        {
            Some(limit) => format!("The limit of key {id} is {limit} calls a minute."),
            None => format!("The limit of key {id} is that of its kind."),
        })
    }
}
