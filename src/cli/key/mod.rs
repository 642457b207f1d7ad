//! `customer-match key …`

mod activation;
mod create;
mod extend;
mod list;
mod revoke;
mod rotate;
mod set_limit;
mod show;
mod shown;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::error::no_key;
use super::output::Output;
use crate::db::api_key::{self, KeyRow};
use crate::domain::{ApiKey, Timestamp};

const CHANGED_MEANWHILE: &str = "the key was changed by another command meanwhile: look at it with key show";

/// Manage API keys
#[derive(Subcommand)]
pub(super) enum Key {
    Create(create::Create),
    List(list::List),
    Show(show::Show),
    SetLimit(set_limit::SetLimit),
    Extend(extend::Extend),
    Rotate(rotate::Rotate),
    /// Switch a key off, until it is enabled. Every running server rejects it within a second
    Disable(activation::Activation),
    /// Switch a disabled key on again
    Enable(activation::Activation),
    Revoke(revoke::Revoke),
}

impl Key {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Show(command) => command.run().await,
            Self::SetLimit(command) => command.run().await,
            Self::Extend(command) => command.run().await,
            Self::Rotate(command) => command.run().await,
            Self::Disable(command) => command.set(false).await,
            Self::Enable(command) => command.set(true).await,
            Self::Revoke(command) => command.run().await,
        }
    }
}

async fn find(pool: &PgPool, id: i64) -> anyhow::Result<KeyRow> {
    api_key::find_row(pool, id).await?.ok_or_else(|| no_key(id))
}

/// `more` are further members of the JSON document, `note` further sentences.
fn print_new_key(
    output: &Output,
    id: i64,
    key: &ApiKey,
    expires_at: Option<DateTime<Utc>>,
    more: Value,
    note: &str,
) -> anyhow::Result<()> {
    let expires_at = expires_at.map(Timestamp::from);
    let mut value =
        json!({ "id": id, "apiKey": key.expose(), "kind": key.kind().as_str(), "expiresAt": expires_at });
    if let (Some(members), Value::Object(more)) = (value.as_object_mut(), more) {
        members.extend(more);
    }
    output.print_created(&value, key.expose(), || {
        let expiry = expires_at.map_or("never expires".into(), |at| format!("expires {at}"));
        format!("Key {id}, {expiry}. It cannot be printed again: store it now. {note}").trim_end().into()
    })
}
