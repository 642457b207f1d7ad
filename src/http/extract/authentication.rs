//! The API key of a request and the documented checks of it, in the documented order (contract §3): presence, format,
//! registry (sample, exists, deleted, active), expiry, rate limit, permission.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use chrono::Utc;
use secrecy::{ExposeSecret, SecretString};

use crate::api_keys::{CachedKey, LookupError};
use crate::db::api_key::KeyState;
use crate::domain::{ApiKey, KeyStatus, Scope};
use crate::error::{ApiError, ErrorCode};
use crate::group_commit::Submitter;
use crate::http::client_ip::client_ip;
use crate::http::identity_attempts::Client;
use crate::http::openapi::ErrorExamples;
use crate::http::request_context::RequestContext;
use crate::http::required_scope::RequiredScope;
use crate::http::state::AppState;

/// With the age of a cached state, less than the second within which a revocation takes effect (contract §3).
const CHECK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What a call may do, by its key.
pub(crate) struct AuthenticatedCaller {
    /// The only organisation whose data the call sees.
    pub(crate) organisation_id: i64,
    /// Of the writes of this request.
    pub(crate) submitter: Submitter,
    client_ip: Option<IpAddr>,
    key: Arc<KeyState>,
    context: Arc<RequestContext>,
}

impl AuthenticatedCaller {
    /// For a request that has been received whole.
    pub(super) async fn new(
        app: &AppState,
        parts: &Parts,
        key: Option<&str>,
        required: &[RequiredScope],
    ) -> Result<Self, ApiError> {
        let caller = Self::before_body(app, parts, key, required).await?;
        caller.admit(app)?;
        Ok(caller)
    }

    /// [`authenticate`], then the permission: the key has one of these scopes. [`admit`](Self::admit) it once its body has been received.
    pub(super) async fn before_body(
        app: &AppState,
        parts: &Parts,
        key: Option<&str>,
        required: &[RequiredScope],
    ) -> Result<Self, ApiError> {
        let key = authenticate(app, parts, key).await?;
        if key.is_publishable() && !required.iter().any(|required| required.publishable) {
            let description = "A publishable key does not open this endpoint.";
            return Err(ApiError::scope_not_allowed(description));
        }
        if !required.iter().any(|required| key.scopes.allow(required.scope)) {
            return Err(scope_missing(required));
        }
        let context = RequestContext::of(&parts.extensions);
        let end = context.started + app.timeouts.request;
        let submitter = Submitter::new(key.organisation_id).ending_at(end);
        let client_ip = client_ip(parts, &app.trusted_proxies);
        Ok(Self { organisation_id: key.organisation_id, submitter, client_ip, key, context })
    }

    /// Whether the key may also do this, beside what the endpoint needs.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.key.scopes.allow(scope)
    }

    /// Whether the call can come from anyone who has seen a page.
    pub(crate) fn has_publishable_key(&self) -> bool {
        self.key.is_publishable()
    }

    /// Whose attempts at identity ids count together.
    pub(crate) fn client(&self) -> Client {
        Client { organisation_id: self.organisation_id, ip: self.client_ip }
    }

    pub(super) fn error_examples(required: &[RequiredScope]) -> Vec<ApiError> {
        KEY_ERRORS.map(ApiError::from).into_iter().chain([scope_missing(required)]).collect()
    }

    /// Takes a permit of the concurrency limit.
    pub(super) fn admit(&self, app: &AppState) -> Result<(), ApiError> {
        admit(app, &self.context, self.organisation_id)
    }

    /// Runs `waiting`, which takes at most `longest`, without the permit and without that time counting for the request timeout.
    /// Once for a request.
    pub(crate) async fn wait<T>(
        &self,
        app: &AppState,
        longest: Duration,
        waiting: impl Future<Output = T>,
    ) -> Result<T, ApiError> {
        let _ = self.context.wait.set(longest);
        self.context.set_permit(None);
        let waited = waiting.await;
        self.admit(app)?;
        Ok(waited)
    }
}

fn admit(app: &AppState, context: &RequestContext, organisation_id: i64) -> Result<(), ApiError> {
    context.set_permit(Some(app.concurrency_limit.acquire(Some(organisation_id))?));
    Ok(())
}

fn scope_missing(required: &[RequiredScope]) -> ApiError {
    let scopes: Vec<_> = required.iter().map(|required| format!("\"{}\"", required.scope)).collect();
    ApiError::scope_not_allowed(format!("The key lacks the scope {}.", scopes.join(" or ")))
}

/// For endpoints that need a key which may be used, whatever its scopes are.
pub(crate) struct ValidApiKey {
    pub(crate) organisation_id: i64,
}

impl FromRequestParts<Arc<AppState>> for ValidApiKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        let state = authenticate(app, parts, key_outside_body(parts).as_deref()).await?;
        admit(app, &RequestContext::of(&parts.extensions), state.organisation_id)?;
        Ok(Self { organisation_id: state.organisation_id })
    }
}

impl ErrorExamples for ValidApiKey {
    fn error_examples() -> Vec<ApiError> {
        KEY_ERRORS.map(ApiError::from).into()
    }
}

/// The errors of [`authenticate`].
const KEY_ERRORS: [ErrorCode; 9] = [
    ErrorCode::ApiKeyIsEmpty,
    ErrorCode::ApiKeyIsNotInValidFormat,
    ErrorCode::ApiKeySampleValue,
    ErrorCode::ApiKeyDoesNotExist,
    ErrorCode::ApiKeyHasBeenDeleted,
    ErrorCode::ApiKeyIsNotActive,
    ErrorCode::ApiKeyHasBeenExpired,
    ErrorCode::ApiKeyTooManyRequest,
    ErrorCode::ApiKeyOriginNotAllowed,
];

/// Everything that is checked before the scope. Each step leaves its result in the request's context, for the
/// middleware, also if a later step fails.
pub(super) async fn authenticate(
    app: &AppState,
    parts: &Parts,
    key: Option<&str>,
) -> Result<Arc<KeyState>, ApiError> {
    let context = RequestContext::of(&parts.extensions);
    let permit = app.concurrency_limit.acquire(None)?;
    let client_ip = client_ip(parts, &app.trusted_proxies);
    let (key, state) = find_key(app, key, client_ip).await?;
    drop(permit);
    let _ = context.api_key.set(Arc::clone(&state));
    if let Some(origin) = allowed_origin(&state, &parts.headers) {
        let _ = context.allowed_origin.set(origin.clone());
    }
    check_status(&state)?;
    check_rate_limit(app, &key, &state, client_ip, &context)?;
    if state.is_publishable() && context.allowed_origin.get().is_none() {
        return Err(ErrorCode::ApiKeyOriginNotAllowed.into());
    }
    Ok(state)
}

fn check_status(key: &KeyState) -> Result<(), ErrorCode> {
    match key.status(Utc::now()) {
        KeyStatus::Revoked => Err(ErrorCode::ApiKeyHasBeenDeleted),
        KeyStatus::Inactive => Err(ErrorCode::ApiKeyIsNotActive),
        KeyStatus::Expired => Err(ErrorCode::ApiKeyHasBeenExpired),
        KeyStatus::Active => Ok(()),
    }
}

/// The key of a call that goes on for as long as its client likes.
pub(crate) struct OngoingKey {
    text: SecretString,
    client_ip: Option<IpAddr>,
    cached: Arc<CachedKey>,
    checked_at: Instant,
}

impl OngoingKey {
    /// Of a call whose key has been checked.
    pub(super) async fn of(app: &AppState, parts: &Parts, key: Option<&str>) -> Result<Self, ApiError> {
        let client_ip = client_ip(parts, &app.trusted_proxies);
        let (cached, _) = find_key(app, key, client_ip).await?;
        let text = SecretString::from(key.unwrap_or_default());
        Ok(Self { text, client_ip, cached, checked_at: Instant::now() })
    }

    /// Counts one more call of the key, which may have been revoked meanwhile or have expired.
    pub(crate) async fn admit(&mut self, app: &AppState) -> Result<(), ApiError> {
        let now = Instant::now();
        if now.saturating_duration_since(self.checked_at) >= CHECK_AGAIN_AFTER {
            self.check_again(app).await?;
        }
        match self.cached.admit(now) {
            Some(decision) if !decision.admitted => Err(ApiError::too_many_requests(decision.reset)),
            _ => Ok(()),
        }
    }

    /// It may have been revoked meanwhile or have expired.
    pub(crate) async fn check_again(&mut self, app: &AppState) -> Result<(), ApiError> {
        let now = Instant::now();
        let (cached, state) = find_key(app, Some(self.text.expose_secret()), self.client_ip).await?;
        check_status(&state)?;
        (self.cached, self.checked_at) = (cached, now);
        Ok(())
    }
}

/// After what has checked it.
impl FromRequestParts<Arc<AppState>> for OngoingKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        Self::of(app, parts, key_outside_body(parts).as_deref()).await
    }
}

/// Presence, format, existence. Keys without the format or not in the registry count against the client's limit of
/// invalid keys.
async fn find_key(
    app: &AppState,
    key: Option<&str>,
    client_ip: Option<IpAddr>,
) -> Result<(Arc<CachedKey>, Arc<KeyState>), ApiError> {
    let key = key.ok_or(ErrorCode::ApiKeyIsEmpty)?;
    let Ok(key) = ApiKey::parse(key) else {
        app.keys.count_invalid(client_ip, key)?;
        return Err(ErrorCode::ApiKeyIsNotInValidFormat.into());
    };
    if key.is_sample() && !app.demo {
        return Err(ErrorCode::ApiKeySampleValue.into());
    }
    app.keys.find(&key, || client_ip).await?.ok_or(ErrorCode::ApiKeyDoesNotExist.into())
}

/// The origin that the request names, if pages of it may use the key.
fn allowed_origin<'a>(key: &KeyState, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
    origin.to_str().is_ok_and(|text| key.allows_origin(text)).then_some(origin)
}

/// The limit of the client first, if the key is publishable: one client must not use up that of the key. Then the client is told its
/// own limit, not what all others have left.
fn check_rate_limit(
    app: &AppState,
    key: &CachedKey,
    state: &KeyState,
    client_ip: Option<IpAddr>,
    context: &RequestContext,
) -> Result<(), ApiError> {
    let now = Instant::now();
    let client_limit = state.client_limit_per_minute();
    let of_client = client_limit.map(|limit| app.publishable_calls.admit(state.id, client_ip, limit, now));
    if let Some(decision) = of_client.filter(|decision| !decision.admitted) {
        let _ = context.rate_limit.set(decision);
        return Err(ApiError::too_many_requests_of_client(decision.reset));
    }
    let of_key = key.admit(now);
    let rejection = of_key.filter(|decision| !decision.admitted);
    if let Some(decision) = rejection.or(of_client).or(of_key) {
        let _ = context.rate_limit.set(decision);
    }
    rejection.map_or(Ok(()), |decision| Err(ApiError::too_many_requests(decision.reset)))
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Database(error) => Self::from(&*error),
            LookupError::TooManyInvalidKeys(retry_after) => Self::too_many_invalid_keys(retry_after),
            LookupError::Stale => ErrorCode::ServiceUnavailable.into(),
        }
    }
}

/// The key in the query, else the one in the Bearer header. An empty one counts as absent.
pub(super) fn key_outside_body(parts: &Parts) -> Option<Cow<'_, str>> {
    in_query(parts).or_else(|| bearer(parts))
}

fn in_query(parts: &Parts) -> Option<Cow<'_, str>> {
    form_urlencoded::parse(parts.uri.query()?.as_bytes())
        .find(|(name, value)| name == "apiKey" && !value.is_empty())
        .map(|(_, value)| value)
}

/// RFC 6750, 2.1; the scheme in any case, as RFC 9110, 11.1 says. Some clients put a tab behind it.
fn bearer(parts: &Parts) -> Option<Cow<'_, str>> {
    let (scheme, token) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once([' ', '\t'])?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then(|| token.into())
}
