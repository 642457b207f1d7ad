//! `POST /api/v1/customer/logout` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::App;
use super::extract::JsonCall;
use super::success::Success;
use crate::db::customer_identity;
use crate::domain::IdentityId;
use crate::error::{ApiError, ErrorCode};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    identity_id: Option<SecretString>,
}

/// Ends the session, at once on every server.
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    JsonCall { caller, body }: JsonCall<Body>,
) -> Result<Json<Success>, ApiError> {
    let identity = body.identity_id.ok_or_else(|| ApiError::missing_field("identityId"))?;
    // What has not the format is nobody's identity.
    let identity =
        IdentityId::parse(identity.expose_secret()).map_err(|_| ErrorCode::UserMustBeAuthorized)?;
    if customer_identity::revoke(&app.pool, caller.organisation_id, &identity).await? {
        Ok(Json(Success::TRUE))
    } else {
        Err(ErrorCode::UserMustBeAuthorized.into())
    }
}
