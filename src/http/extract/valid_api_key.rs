//! A call that needs a key which may be used, whatever its scopes are.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::authentication::{KEY_ERRORS, authenticate, key_outside_body};
use crate::error::ApiError;
use crate::http::openapi::ErrorExamples;
use crate::http::state::AppState;

pub(crate) struct ValidApiKey;

impl FromRequestParts<Arc<AppState>> for ValidApiKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        authenticate(app, parts, key_outside_body(parts).as_deref()).await?;
        Ok(Self)
    }
}

impl ErrorExamples for ValidApiKey {
    fn error_examples() -> Vec<ApiError> {
        KEY_ERRORS.map(ApiError::from).into()
    }
}
