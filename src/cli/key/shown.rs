//! A key in the results of subcommands, always masked.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::db::api_key::KeyRow;
use crate::domain::{KeyKind, Timestamp};

pub(super) fn to_json(key: &KeyRow, now: DateTime<Utc>) -> Value {
    json!({
        "id": key.id, "organisationId": key.organisation_id, "organisation": key.organisation, "kind": key.kind, "mask": key.mask,
        "description": key.description, "scopes": key.scopes, "limitPerMinute": key.limit_per_minute,
        "publishable": !key.allowed_origins.is_empty(), "allowedOrigins": key.allowed_origins,
        "clientLimitPerMinute": key.client_limit_per_minute,
        "state": key.status(now).as_str(), "lastUsedAt": key.last_used_at.map(Timestamp::from), "lastUsedIp": key.last_used_ip,
        "createdAt": Timestamp::from(key.created_at), "expiresAt": key.expires_at.map(Timestamp::from),
        "deletedAt": key.deleted_at.map(Timestamp::from),
    })
}

pub(super) fn kind(key: &KeyRow) -> String {
    let publishable = if key.allowed_origins.is_empty() { "" } else { ", publishable" };
    format!("{}{publishable}", key.kind)
}

pub(super) fn scopes(key: &KeyRow) -> String {
    if key.scopes.is_empty() { "all".into() } else { key.scopes.join(", ") }
}

pub(super) fn origins(key: &KeyRow) -> String {
    if key.allowed_origins.is_empty() { "any".into() } else { key.allowed_origins.join(", ") }
}

pub(super) fn client_limit(key: &KeyRow) -> String {
    key.client_limit_per_minute.map_or("none".into(), |limit| limit.to_string())
}

pub(super) fn last_use(key: &KeyRow) -> String {
    let time = time_or_never(key.last_used_at);
    key.last_used_ip.as_ref().map_or(time.clone(), |ip| format!("{time} from {ip}"))
}

/// To the minute. JSON has the exact time.
pub(super) fn time_or_never(at: Option<DateTime<Utc>>) -> String {
    at.map_or("never".into(), |at| at.format("%Y-%m-%d %H:%M UTC").to_string())
}

/// Calls a minute. The limit of a kind is a setting of each server, which these commands do not know.
pub(super) fn limit(key: &KeyRow) -> String {
    match key.limit_per_minute {
        Some(limit) => limit.to_string(),
        None if key.kind == KeyKind::Root.as_str() => "none".into(),
        None => "of its kind".into(),
    }
}
