//! `POST /api/v1/customer/logout` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::success::Success;
use crate::demo;
use crate::domain::{IdentityId, Scope};
use crate::error::{ApiError, ErrorCode, InvalidField};
use crate::http::extract::{ApiJson, Prefer, RequestBody, required};
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogoutRequest {
    #[schema(value_type = IdentityId)]
    identity_id: Option<SecretString>,
}

impl RequestBody for LogoutRequest {
    type Valid = SecretString;

    fn check(self, invalid: &mut Vec<InvalidField>) -> Option<SecretString> {
        required("identityId", self.identity_id, invalid)
    }
}

impl RequiresScope for LogoutRequest {
    const SCOPES: &'static [RequiredScope] = &[RequiredScope::always(Scope::Session)];
}

impl ErrorExamples for LogoutRequest {
    fn error_examples() -> Vec<ApiError> {
        vec![ApiError::missing_field("identityId"), ErrorCode::UserMustBeAuthorized.into()]
    }
}

/// Logs a customer out.
///
/// The identity is invalid at once, on every server.
#[utoipa::path(
    post,
    path = "/api/v1/customer/logout",
    tag = openapi::CUSTOMER,
    params(("Prefer" = inline(Option<Prefer>), Header, nullable = false, example = "handling=strict",
        description = "`handling=strict`: unknown fields and parameters are invalid (RFC 7240).")),
    request_body(content = LogoutRequest, example = json!({"identityId": demo::IDENTITY_TO_LOG_OUT})),
    responses(
        (status = OK, body = Success, description = "The session has ended."),
        ErrorResponses<ApiJson<LogoutRequest>>,
    ),
)]
pub(crate) async fn revoke_identity(
    State(app): State<Arc<AppState>>,
    ApiJson { caller, body: identity }: ApiJson<LogoutRequest>,
) -> Result<Json<Success>, ApiError> {
    // A text that has not the format is an unknown identity, not invalid input.
    let identity =
        IdentityId::parse(identity.expose_secret()).map_err(|_| ErrorCode::UserMustBeAuthorized)?;
    let end = async {
        let ended = app.group_commit.end_identity(caller.submitter, identity.hash()).await?;
        Ok(ended.then_some(Success::TRUE))
    };
    app.identity_attempts.find(caller.client(), &identity, end).await.map(Json)
}
