//! `POST /api/v1/customer/magic-auth` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::extract::{JsonCall, blank_is_absent};
use super::openapi::{self, Refusals, Refuses};
use super::success::Success;
use crate::demo;
use crate::domain::{Email, IdentityId, Profile, ProfileText, Registration};
use crate::error::ApiError;

/// Blank texts count as not given.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MagicAuthRequest)]
pub(super) struct Body {
    #[schema(value_type = Email)]
    email: Option<Email>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    first_name: Option<ProfileText>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    last_name: Option<ProfileText>,
}

impl Refuses for Body {
    fn examples() -> Vec<ApiError> {
        vec![ApiError::missing_field("email")]
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Identity)]
pub(super) struct Answer {
    #[serde(flatten)]
    success: Success,
    #[schema(value_type = IdentityId)]
    identity_id: String,
}

/// Create a new customer identity based on e-mail without password.
///
/// The customer is created if nobody has the address. The identity is good for three months or until it is logged out.
/// That the address is the customer's own is for the caller to know: it is trusted with its organisation's key.
#[utoipa::path(
    post,
    path = "/api/v1/customer/magic-auth",
    tag = openapi::CUSTOMER,
    request_body(content = Body, example = json!({"email": demo::CUSTOMER_EMAIL})),
    responses(
        (status = OK, body = Answer, description = "The customer is logged in."),
        Refusals<JsonCall<Body>>,
    ),
)]
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    JsonCall { caller, body }: JsonCall<Body>,
) -> Result<Json<Answer>, ApiError> {
    let email = body.email.ok_or_else(|| ApiError::missing_field("email"))?;
    let profile = Profile { first_name: body.first_name, last_name: body.last_name, ..Profile::default() };
    let identity = IdentityId::generate();
    let registration = Registration::new(email, profile);
    app.group_commit.open_identity(caller.organisation_id, registration, identity.hash()).await?;
    Ok(Json(Answer { success: Success::TRUE, identity_id: identity.expose().into() }))
}
