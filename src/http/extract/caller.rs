//! The API key of a request, and the documented checks of it in the documented order (contract §3).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use chrono::Utc;

use crate::api_keys::LookupError;
use crate::db::api_key::KeyState;
use crate::domain::{ApiKey, CUSTOMER_MATCH_SCOPE, KeyStatus};
use crate::error::{ApiError, ErrorCode};
use crate::http::{App, client_address, rate_limit, trace};

/// Whoever holds the key.
pub(in crate::http) struct Caller {
    /// The only organisation whose data the call sees.
    pub(in crate::http) organisation_id: i64,
}

impl Caller {
    /// What [`Caller::check`] refuses.
    pub(super) fn refusals() -> Vec<ApiError> {
        KEY_REFUSALS.into_iter().chain([ErrorCode::ApiKeyScopeNotAllowed]).map(ApiError::from).collect()
    }

    /// Whoever has a good key that is good for this family of endpoints: the last check.
    pub(super) async fn check(app: &App, parts: &Parts, key: Option<&str>) -> Result<Self, ApiError> {
        let state = authenticate(app, parts, key).await?;
        if !state.scopes.is_empty() && !state.scopes.iter().any(|scope| scope == CUSTOMER_MATCH_SCOPE) {
            return Err(ErrorCode::ApiKeyScopeNotAllowed.into());
        }
        Ok(Self { organisation_id: state.organisation_id })
    }
}

/// What [`authenticate`] refuses.
pub(super) const KEY_REFUSALS: [ErrorCode; 8] = [
    ErrorCode::ApiKeyIsEmpty,
    ErrorCode::ApiKeyIsNotInValidFormat,
    ErrorCode::ApiKeySampleValue,
    ErrorCode::ApiKeyDoesNotExist,
    ErrorCode::ApiKeyHasBeenDeleted,
    ErrorCode::ApiKeyIsNotActive,
    ErrorCode::ApiKeyHasBeenExpired,
    ErrorCode::ApiKeyTooManyRequest,
];

/// A place among the requests that are worked on, then presence → format → registry (sample, exists, deleted, active) → expiry → rate limit.
pub(super) async fn authenticate(
    app: &App,
    parts: &Parts,
    key: Option<&str>,
) -> Result<Arc<KeyState>, ApiError> {
    app.places.take(&parts.extensions)?;
    let key = key.ok_or(ErrorCode::ApiKeyIsEmpty)?;
    let client = || client_address::of(parts, &app.trusted_proxies);
    let Ok(key) = ApiKey::parse(key) else {
        app.keys.count_malformed(client())?;
        return Err(ErrorCode::ApiKeyIsNotInValidFormat.into());
    };
    if key.is_sample() && !app.demo {
        return Err(ErrorCode::ApiKeySampleValue.into());
    }
    let (key, state) = app.keys.find(&key, client).await?.ok_or(ErrorCode::ApiKeyDoesNotExist)?;
    trace::record_caller(&parts.extensions, &state);
    match state.status(Utc::now()) {
        KeyStatus::Revoked => return Err(ErrorCode::ApiKeyHasBeenDeleted.into()),
        KeyStatus::Inactive => return Err(ErrorCode::ApiKeyIsNotActive.into()),
        KeyStatus::Expired => return Err(ErrorCode::ApiKeyHasBeenExpired.into()),
        KeyStatus::Active => {}
    }
    if let Some(allowance) = key.admit(Instant::now()) {
        rate_limit::record(&parts.extensions, allowance);
        if !allowance.admitted {
            return Err(ApiError::too_many_requests(allowance.reset));
        }
    }
    Ok(state)
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Database(error) => Self::from(&*error),
            LookupError::TooManyInvalidKeys(retry_after) => Self::too_many_guesses(retry_after),
            LookupError::Stale => ErrorCode::ServiceUnavailable.into(),
        }
    }
}

/// The first key that is present: in the query, else as Bearer. An empty one is not present.
pub(super) fn key_outside_body(parts: &Parts) -> Option<Cow<'_, str>> {
    in_query(parts).or_else(|| bearer(parts))
}

fn in_query(parts: &Parts) -> Option<Cow<'_, str>> {
    form_urlencoded::parse(parts.uri.query()?.as_bytes())
        .find(|(name, value)| name == "apiKey" && !value.is_empty())
        .map(|(_, value)| value)
}

/// RFC 6750, 2.1; the scheme in any case, as RFC 9110, 11.1 says.
fn bearer(parts: &Parts) -> Option<Cow<'_, str>> {
    let (scheme, token) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then(|| token.into())
}
