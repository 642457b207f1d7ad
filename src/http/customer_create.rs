//! `POST /api/v1/customer/create` (contract §2).

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::App;
use super::extract::{JsonCall, blank_is_absent};
use super::success::Success;
use crate::db::customer::{self, Profile};
use crate::db::retry::retry;
use crate::domain::{Email, ProfileText};
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    email: Option<Email>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    first_name: Option<ProfileText>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    last_name: Option<ProfileText>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    company_name: Option<ProfileText>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    phone: Option<ProfileText>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    company_registration_number: Option<ProfileText>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    tax_identification_number: Option<ProfileText>,
    #[serde(default, deserialize_with = "blank_is_absent")]
    customer_real_ip: Option<IpAddr>,
}

/// The profile as it is now, whoever wrote it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    #[serde(flatten)]
    success: Success,
    created: bool,
    cu_ref_no: String,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company_name: Option<String>,
    phone: Option<String>,
    company_registration_number: Option<String>,
    tax_identification_number: Option<String>,
}

/// Registers a new customer, or returns the one with this address.
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    JsonCall { caller, body }: JsonCall<Body>,
) -> Result<Json<Answer>, ApiError> {
    let email = body.email.ok_or_else(|| ApiError::missing_field("email"))?;
    let profile = Profile {
        first_name: body.first_name,
        last_name: body.last_name,
        company_name: body.company_name,
        phone: body.phone,
        company_registration_number: body.company_registration_number,
        tax_identification_number: body.tax_identification_number,
        real_ip: body.customer_real_ip,
    };
    let write = || customer::get_or_create(&app.pool, caller.organisation_id, &email, &profile);
    let (customer, created) = retry(write).await?;
    Ok(Json(Answer {
        success: Success::TRUE,
        created,
        cu_ref_no: customer.cu_ref_no,
        email: customer.email,
        first_name: customer.first_name,
        last_name: customer.last_name,
        company_name: customer.company_name,
        phone: customer.phone,
        company_registration_number: customer.company_registration_number,
        tax_identification_number: customer.tax_identification_number,
    }))
}
