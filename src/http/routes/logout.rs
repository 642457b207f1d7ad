//! `POST /api/v1/customer/logout` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::success::Success;
use crate::db::{self, customer_identity};
use crate::demo;
use crate::domain::IdentityId;
use crate::error::{ApiError, ErrorCode};
use crate::http::extract::JsonCall;
use crate::http::openapi::{self, Refusals, Refuses};
use crate::http::state::AppState;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LogoutRequest)]
pub(crate) struct Body {
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
pub(crate) async fn handle(
    State(app): State<Arc<AppState>>,
    JsonCall { caller, body }: JsonCall<Body>,
) -> Result<Json<Success>, ApiError> {
    let identity = body.identity_id.ok_or_else(|| ApiError::missing_field("identityId"))?;
    // What has not the format is nobody's identity.
    let identity =
        IdentityId::parse(identity.expose_secret()).map_err(|_| ErrorCode::UserMustBeAuthorized)?;
    let revoked =
        db::run(&app.pool, async |db| customer_identity::revoke(db, caller.organisation_id, &identity).await);
    if revoked.await? { Ok(Json(Success::TRUE)) } else { Err(ErrorCode::UserMustBeAuthorized.into()) }
}
