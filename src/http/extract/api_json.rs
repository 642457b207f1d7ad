//! A call with a JSON body.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};

use super::api_query::QueryParameters;
use super::authentication::{AuthenticatedCaller, key_outside_body};
use super::json_body::{self, MAX_BYTES};
use super::prefer::Prefer;
use super::request_body::{self, RequestBody};
use crate::error::{ApiError, ErrorCode};
use crate::http::openapi::ErrorExamples;
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

pub(crate) struct ApiJson<B: RequestBody> {
    pub(crate) caller: AuthenticatedCaller,
    pub(crate) body: B::Valid,
}

impl<B: RequestBody + RequiresScope> FromRequest<Arc<AppState>> for ApiJson<B> {
    type Rejection = ApiError;

    /// A key outside the body is checked before the body is received. The body is parsed after the key is checked in any case.
    async fn from_request(request: Request, app: &Arc<AppState>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let (caller, bytes) = match key_outside_body(&parts) {
            Some(key) => match AuthenticatedCaller::before_body(app, &parts, Some(&key), B::SCOPES).await {
                Ok(caller) => {
                    let bytes = json_body::read(app, &parts, body, MAX_BYTES).await?;
                    caller.admit(app)?;
                    (caller, bytes)
                }
                Err(error) => {
                    json_body::discard(&parts, body).await;
                    return Err(error);
                }
            },
            None => {
                let bytes = json_body::read(app, &parts, body, MAX_BYTES).await?;
                json_body::require_no_coding(&parts.headers)?;
                let key = json_body::api_key(&bytes)?;
                (AuthenticatedCaller::new(app, &parts, key.as_deref(), B::SCOPES).await?, bytes)
            }
        };
        json_body::require_json(&parts.headers)?;
        json_body::require_no_coding(&parts.headers)?;
        let strict = Prefer::of(&parts.headers).strict;
        let mut invalid = Vec::new();
        if strict {
            invalid.extend(QueryParameters::of(&parts.uri)?.unknown());
        }
        Ok(Self { caller, body: request_body::parse::<B>(&bytes, strict, "apiKey", invalid)? })
    }
}

impl<B: RequestBody + ErrorExamples + RequiresScope> ErrorExamples for ApiJson<B> {
    fn error_examples() -> Vec<ApiError> {
        let body = [
            ErrorCode::RequestTimeout.into(),
            ErrorCode::PayloadTooLarge.into(),
            ErrorCode::UnsupportedMediaType.into(),
            request_body::not_json("EOF while parsing a value at line 1 column 0"),
        ];
        let key = AuthenticatedCaller::error_examples(B::SCOPES);
        key.into_iter().chain(body).chain(B::error_examples()).collect()
    }

    fn required_scopes() -> &'static [RequiredScope] {
        B::SCOPES
    }
}
