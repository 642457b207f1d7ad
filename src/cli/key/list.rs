//! `customer-match key list`

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::json;

use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::error::no_organisation;
use crate::cli::output::{Output, table};
use crate::db::api_key::{self, KeyRow};
use crate::db::organisation;
use crate::domain::{KeyKind, Timestamp};

/// List the keys of an organisation, masked
#[derive(Args)]
pub(in crate::cli) struct List {
    /// Organisation that the keys belong to
    #[arg(long, value_name = "ID", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: i64,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl List {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let keys = with_pool(&self.database, async |pool| {
            if !organisation::exists(pool, self.organisation).await? {
                return Err(no_organisation(self.organisation));
            }
            Ok(api_key::list(pool, self.organisation).await?)
        })
        .await?;
        let now = Utc::now();
        let items: Vec<_> = keys
            .iter()
            .map(|key| {
                json!({
                    "id": key.id, "kind": key.kind, "mask": key.mask, "description": key.description,
                    "scopes": key.scopes, "limitPerMinute": key.limit_per_minute, "state": key.status(now).as_str(), "lastUsedAt": key.last_used_at.map(Timestamp::from), "createdAt": Timestamp::from(key.created_at),
                    "expiresAt": key.expires_at.map(Timestamp::from), "deletedAt": key.deleted_at.map(Timestamp::from),
                })
            })
            .collect();
        self.output.print(&items, || {
            table(
                ["ID", "KEY", "KIND", "STATE", "SCOPES", "LIMIT", "LAST USED", "EXPIRES", "DESCRIPTION"],
                keys.iter().map(|key| {
                    [
                        key.id.to_string(),
                        key.mask.clone(),
                        key.kind.clone(),
                        key.status(now).as_str().into(),
                        if key.scopes.is_empty() { "all".into() } else { key.scopes.join(", ") },
                        limit_of(key),
                        time_or_never(key.last_used_at),
                        time_or_never(key.expires_at),
                        key.description.clone(),
                    ]
                }),
            )
        })
    }
}

/// To the minute. JSON has the exact time.
fn time_or_never(at: Option<DateTime<Utc>>) -> String {
    at.map_or("never".into(), |at| at.format("%Y-%m-%d %H:%M UTC").to_string())
}

/// Calls a minute. The limit of a kind is a setting of each server, which this command does not know.
fn limit_of(key: &KeyRow) -> String {
    match key.limit_per_minute {
        Some(limit) => limit.to_string(),
        None if key.kind == KeyKind::Root.as_str() => "none".into(),
        None => "of its kind".into(),
    }
}
