//! `POST /api/v1/customer/magic-auth` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::success::Success;
use crate::db;
use crate::db::customer_identity;
use crate::db::retry::retry;
use crate::demo;
use crate::domain::{Email, IdentityId, ProfileText};
use crate::error::ApiError;
use crate::http::extract::{ApiJson, blank_is_absent};
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::state::AppState;

/// Blank texts count as absent.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MagicAuthRequest {
    #[schema(value_type = Email)]
    email: Option<Email>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    first_name: Option<ProfileText>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    last_name: Option<ProfileText>,
}

impl ErrorExamples for MagicAuthRequest {
    fn error_examples() -> Vec<ApiError> {
        vec![ApiError::missing_field("email")]
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    #[serde(flatten)]
    success: Success,
    #[schema(value_type = IdentityId)]
    identity_id: String,
}

/// Create a new customer identity based on e-mail without password.
///
/// The customer is created if no customer has the e-mail address. The identity is valid for three months or until it is
/// logged out. The client checks that the e-mail address is the customer's own: the server trusts the organisation's
/// key.
#[utoipa::path(
    post,
    path = "/api/v1/customer/magic-auth",
    tag = openapi::CUSTOMER,
    request_body(content = MagicAuthRequest, example = json!({"email": demo::CUSTOMER_EMAIL})),
    responses(
        (status = OK, body = Identity, description = "The customer is logged in."),
        ErrorResponses<ApiJson<MagicAuthRequest>>,
    ),
)]
pub(crate) async fn create_identity(
    State(app): State<Arc<AppState>>,
    ApiJson { caller, body }: ApiJson<MagicAuthRequest>,
) -> Result<Json<Identity>, ApiError> {
    let email = body.email.ok_or_else(|| ApiError::missing_field("email"))?;
    let (first_name, last_name) = (body.first_name.as_ref(), body.last_name.as_ref());
    let organisation = caller.organisation_id;
    let identity = IdentityId::generate();
    let write = || {
        db::run(&app.pool, async |db| {
            customer_identity::create(db, organisation, &identity, &email, first_name, last_name).await
        })
    };
    retry(write).await?;
    Ok(Json(Identity { success: Success::TRUE, identity_id: identity.expose().into() }))
}
