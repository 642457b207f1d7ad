//! What an endpoint is called with: the caller, checked first, then the input. Bare axum extractors answer in a shape
//! that is not the contract's, so they are not used.

mod authentication;
mod body;
mod prefer;
mod query;

pub(crate) use authentication::Caller;
pub(crate) use body::blank_is_absent;
pub(crate) use prefer::Prefer;
pub(crate) use query::{Parameters, Query};

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::openapi::Refuses;
use super::state::AppState;
use crate::error::{ApiError, ErrorCode};

/// A call with a JSON body.
pub(crate) struct JsonCall<B> {
    /// Whose key it is.
    pub(crate) caller: Caller,
    /// The parsed body.
    pub(crate) body: B,
}

impl<B: DeserializeOwned> FromRequest<Arc<AppState>> for JsonCall<B> {
    type Rejection = ApiError;

    /// The key is checked before anything is said about the body (contract §3). The body has been read by then, as the
    /// key may be in it.
    async fn from_request(request: Request, app: &Arc<AppState>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = body::read(&parts, body, app.timeouts.body).await;
        let (caller, bytes) = match authentication::key_outside_body(&parts) {
            Some(key) => (Caller::check(app, &parts, Some(&key)).await?, bytes?),
            None => {
                let bytes = bytes?;
                let key = body::api_key(&bytes)?;
                (Caller::check(app, &parts, key.as_deref()).await?, bytes)
            }
        };
        body::require_json(&parts.headers)?;
        Ok(Self { caller, body: body::parse(&bytes)? })
    }
}

impl<B: Refuses> Refuses for JsonCall<B> {
    fn examples() -> Vec<ApiError> {
        let body = [
            ErrorCode::RequestTimeout.into(),
            ErrorCode::PayloadTooLarge.into(),
            ErrorCode::UnsupportedMediaType.into(),
            body::not_json("EOF while parsing a value at line 1 column 0"),
        ];
        Caller::refusals().into_iter().chain(body).chain(B::examples()).collect()
    }
}

/// Counts a call that reaches no endpoint as one of its key: a limit counts all that a key does, and to guess keys is no
/// cheaper where there is nothing. The body has been read by then.
///
/// # Errors
///
/// There were too many, of the key or of guesses. What else is wrong with the key matters less than that there is
/// nothing to call.
pub(crate) async fn count(app: &AppState, request: Request) -> Result<(), ApiError> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&parts, body, app.timeouts.body).await.unwrap_or_default();
    let key =
        authentication::key_outside_body(&parts).or_else(|| body::api_key(&bytes).ok()?.map(Cow::Owned));
    match key {
        Some(key) => match authentication::authenticate(app, &parts, Some(&key)).await {
            Err(error) if error.status() == StatusCode::TOO_MANY_REQUESTS => Err(error),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

/// A call with parameters in the query.
pub(crate) struct QueryCall<Q> {
    /// Whose key it is.
    pub(crate) caller: Caller,
    /// The parsed parameters.
    pub(crate) query: Q,
}

impl<Q: Query> FromRequestParts<Arc<AppState>> for QueryCall<Q> {
    type Rejection = ApiError;

    /// The key is checked before the parameters are looked at (contract §3).
    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        let caller = Caller::check(app, parts, authentication::key_outside_body(parts).as_deref()).await?;
        Ok(Self { caller, query: Q::parse(&Parameters::of(&parts.uri))? })
    }
}

impl<Q: Refuses> Refuses for QueryCall<Q> {
    fn examples() -> Vec<ApiError> {
        Caller::refusals().into_iter().chain(Q::examples()).collect()
    }
}

/// A call with a good key, whatever it may be used for.
pub(crate) struct AnyKey;

impl FromRequestParts<Arc<AppState>> for AnyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        authentication::authenticate(app, parts, authentication::key_outside_body(parts).as_deref()).await?;
        Ok(Self)
    }
}

impl Refuses for AnyKey {
    fn examples() -> Vec<ApiError> {
        authentication::KEY_REFUSALS.into_iter().map(ApiError::from).collect()
    }
}
