//! A call with a JSON body.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::authentication::{AuthenticatedCaller, key_outside_body};
use super::json_body;
use crate::error::{ApiError, ErrorCode};
use crate::http::openapi::ErrorExamples;
use crate::http::state::AppState;

pub(crate) struct ApiJson<B> {
    pub(crate) caller: AuthenticatedCaller,
    pub(crate) body: B,
}

impl<B: DeserializeOwned> FromRequest<Arc<AppState>> for ApiJson<B> {
    type Rejection = ApiError;

    /// The body is read before the key is checked, as the key may be in it, and parsed after.
    async fn from_request(request: Request, app: &Arc<AppState>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = json_body::read(&parts, body, app.timeouts.body).await;
        let (caller, bytes) = match key_outside_body(&parts) {
            Some(key) => (AuthenticatedCaller::new(app, &parts, Some(&key)).await?, bytes?),
            None => {
                let bytes = bytes?;
                json_body::require_no_coding(&parts.headers)?;
                let key = json_body::api_key(&bytes)?;
                (AuthenticatedCaller::new(app, &parts, key.as_deref()).await?, bytes)
            }
        };
        json_body::require_json(&parts.headers)?;
        json_body::require_no_coding(&parts.headers)?;
        Ok(Self { caller, body: json_body::parse(&bytes)? })
    }
}

impl<B: ErrorExamples> ErrorExamples for ApiJson<B> {
    fn error_examples() -> Vec<ApiError> {
        let body = [
            ErrorCode::RequestTimeout.into(),
            ErrorCode::PayloadTooLarge.into(),
            ErrorCode::UnsupportedMediaType.into(),
            json_body::not_json("EOF while parsing a value at line 1 column 0"),
        ];
        AuthenticatedCaller::error_examples().into_iter().chain(body).chain(B::error_examples()).collect()
    }
}
