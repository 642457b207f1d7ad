//! `POST /api/v1/customer/logout` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::App;
use super::extract::JsonCall;
use super::openapi::{self, Refusals, Refuses};
use super::success::Success;
use crate::demo;
use crate::domain::IdentityId;
use crate::error::{ApiError, ErrorCode};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LogoutRequest)]
pub(super) struct Body {
    #[schema(value_type = IdentityId)]
    identity_id: Option<SecretString>,
}

impl Refuses for Body {
    fn examples() -> Vec<ApiError> {
        vec![ApiError::missing_field("identityId"), ErrorCode::UserMustBeAuthorized.into()]
    }
}

/// Logs a customer out.
///
/// The identity is of no use any more, at once and on every server.
#[utoipa::path(
    post,
    path = "/api/v1/customer/logout",
    tag = openapi::CUSTOMER,
    request_body(content = Body, example = json!({"identityId": demo::IDENTITY})),
    responses(
        (status = OK, body = Success, description = "The session has ended."),
        Refusals<JsonCall<Body>>,
    ),
)]
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    JsonCall { caller, body }: JsonCall<Body>,
) -> Result<Json<Success>, ApiError> {
    let identity = body.identity_id.ok_or_else(|| ApiError::missing_field("identityId"))?;
    // What has not the format is nobody's identity.
    let identity =
        IdentityId::parse(identity.expose_secret()).map_err(|_| ErrorCode::UserMustBeAuthorized)?;
    let ended = app.group_commit.end_identity(caller.organisation_id, identity.hash()).await?;
    if ended { Ok(Json(Success::TRUE)) } else { Err(ErrorCode::UserMustBeAuthorized.into()) }
}
