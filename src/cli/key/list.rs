//! `customer-match key list`

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::json;

use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::output::{Output, table};
use crate::db::api_key::{self, KeyRow};
use crate::db::organisation;
use crate::domain::{KeyKind, Timestamp};

/// List an organisation's keys, masked.
#[derive(Args)]
pub(in crate::cli) struct List {
    /// Whose keys.
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
                bail!("there is no organisation {}", self.organisation);
            }
            Ok(api_key::list(pool, self.organisation).await?)
        })
        .await?;
        let items: Vec<_> = keys
            .iter()
            .map(|key| {
                json!({
                    "id": key.id, "kind": key.kind, "mask": key.mask, "description": key.description,
                    "scopes": key.scopes, "limitPerMinute": key.limit_per_minute, "state": state(key), "lastUsedAt": key.last_used_at.map(Timestamp::from), "createdAt": Timestamp::from(key.created_at),
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
                        state(key).into(),
                        if key.scopes.is_empty() { "all".into() } else { key.scopes.join(", ") },
                        limit_of(key),
                        moment(key.last_used_at),
                        moment(key.expires_at),
                        key.description.clone(),
                    ]
                }),
            )
        })
    }
}

fn moment(at: Option<DateTime<Utc>>) -> String {
    at.map_or("never".into(), |at| Timestamp::from(at).to_string())
}

/// Calls a minute. What a kind may is set where the server is started, which may be another machine.
fn limit_of(key: &KeyRow) -> String {
    match key.limit_per_minute {
        Some(limit) => limit.to_string(),
        None if key.kind == KeyKind::Root.as_str() => "none".into(),
        None => "of its kind".into(),
    }
}

fn state(key: &KeyRow) -> &'static str {
    if key.deleted_at.is_some() {
        "revoked"
    } else if !key.active {
        "inactive"
    } else if key.expires_at.is_some_and(|at| at <= Utc::now()) {
        "expired"
    } else {
        "active"
    }
}
