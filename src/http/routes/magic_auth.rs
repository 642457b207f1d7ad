//! `POST /api/v1/customer/magic-auth` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::success::Success;
use crate::demo;
use crate::domain::{Email, IdentityId, Profile, ProfileText, Registration, Scope};
use crate::error::{ApiError, InvalidField};
use crate::http::extract::{ApiJson, Prefer, RequestBody, blank_is_absent, required};
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
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

impl RequestBody for MagicAuthRequest {
    type Valid = Registration;

    fn check(self, invalid: &mut Vec<InvalidField>) -> Option<Registration> {
        let profile =
            Profile { first_name: self.first_name, last_name: self.last_name, ..Profile::default() };
        Some(Registration::new(required("email", self.email, invalid)?, profile))
    }
}

impl RequiresScope for MagicAuthRequest {
    const SCOPES: &'static [RequiredScope] = &[RequiredScope::always(Scope::Session)];
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
    params(("Prefer" = inline(Option<Prefer>), Header, nullable = false, example = "handling=strict",
        description = "`handling=strict`: unknown fields and parameters are invalid (RFC 7240).")),
    request_body(content = MagicAuthRequest, example = json!({"email": demo::CUSTOMER_EMAIL})),
    responses(
        (status = OK, body = Identity, description = "The customer is logged in."),
        ErrorResponses<ApiJson<MagicAuthRequest>>,
    ),
)]
pub(crate) async fn create_identity(
    State(app): State<Arc<AppState>>,
    ApiJson { caller, body: registration }: ApiJson<MagicAuthRequest>,
) -> Result<Json<Identity>, ApiError> {
    let identity = IdentityId::generate();
    app.group_commit.open_identity(caller.submitter, registration, identity.hash()).await?;
    Ok(Json(Identity { success: Success::TRUE, identity_id: identity.expose().into() }))
}
