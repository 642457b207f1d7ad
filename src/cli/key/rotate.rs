//! `customer-match key rotate`

use std::time::Duration;

use anyhow::{Context, bail};
use chrono::Utc;
use clap::Args;
use serde_json::json;

use super::{CHANGED_MEANWHILE, find, print_new_key};
use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::output::Output;
use crate::db::api_key;
use crate::domain::{ApiKey, KeyStatus, Timestamp};

/// Longer than a release of each program that has the key takes.
const OVERLAP: &str = "7d";

/// Create a successor of a key, with the same permissions, limits and time to live, and print it. The old key works on for a while
#[derive(Args)]
pub(in crate::cli) struct Rotate {
    /// Id of the old key, as `key create` and `key list` print it
    id: i64,
    /// How long the old key works on, unless it expires before
    #[arg(long, value_name = "TIME", default_value = OVERLAP, value_parser = overlap)]
    overlap: Duration,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

fn overlap(text: &str) -> Result<Duration, String> {
    let overlap =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 12h or 7d"))?;
    let longest = Duration::from_secs(366 * 24 * 60 * 60);
    if overlap <= longest { Ok(overlap) } else { Err("must be at most 366d".into()) }
}

impl Rotate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let id = self.id;
        let (key, successor) = with_pool(&self.database, async |pool| {
            let old = find(pool, id).await?;
            match old.status(Utc::now()) {
                KeyStatus::Revoked => bail!("key {id} was revoked: create a new one with key create"),
                KeyStatus::Expired => {
                    bail!("key {id} has expired: let it work again with key extend, or create a new one")
                }
                KeyStatus::Inactive => bail!("key {id} is disabled: enable it first, or create a new one"),
                KeyStatus::Active => {}
            }
            let key = ApiKey::generate(old.kind.parse()?);
            let successor =
                api_key::rotate(pool, id, &key, self.overlap).await?.context(CHANGED_MEANWHILE)?;
            Ok((key, successor))
        })
        .await?;
        let old_expires_at = Timestamp::from(successor.old_expires_at);
        let more = json!({ "replaces": id, "replacedExpiresAt": old_expires_at });
        let note = format!("It replaces key {id}, which expires {old_expires_at}.");
        print_new_key(&self.output, successor.id, &key, successor.expires_at, more, &note)
    }
}
