//! `POST /api/v1/customer/magic-auth` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::App;
use super::extract::{JsonCall, blank_is_absent};
use super::success::Success;
use crate::db::customer_identity;
use crate::db::retry::retry;
use crate::domain::{Email, IdentityId, ProfileText};
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    email: Option<Email>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    first_name: Option<ProfileText>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    last_name: Option<ProfileText>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    #[serde(flatten)]
    success: Success,
    identity_id: String,
}

/// Creates an identity for the customer with this address, and the customer if there is none. That the address is
/// the customer's own is for the caller to know: it is trusted with its organisation's key.
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    JsonCall { caller, body }: JsonCall<Body>,
) -> Result<Json<Answer>, ApiError> {
    let email = body.email.ok_or_else(|| ApiError::missing_field("email"))?;
    let (first_name, last_name) = (body.first_name.as_ref(), body.last_name.as_ref());
    let organisation = caller.organisation_id;
    let identity = IdentityId::generate();
    let write =
        || customer_identity::create(&app.pool, organisation, &identity, &email, first_name, last_name);
    retry(write).await?;
    Ok(Json(Answer { success: Success::TRUE, identity_id: identity.expose().into() }))
}
