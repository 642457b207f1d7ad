//! `POST /api/v1/customer/update-profile` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::customer_profile::CustomerProfile;
use super::success::Success;
use crate::demo;
use crate::domain::{
    CuRefNo, Email, HostIp, NamedCustomer, ProfileChanges, ProfileText, ProfileUpdate, Scope,
};
use crate::error::{ApiError, InvalidField};
use crate::group_commit::WriteError;
use crate::http::extract::{ApiJson, Prefer, RequestBody, blank_clears, is_invalid, not_null};
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

/// One of `cuRefNo` and `email` names the customer; when both are given, `cuRefNo` decides. A field of the profile that is present
/// replaces the stored one, null or a blank text clears it, absent keeps it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpdateRequest {
    cu_ref_no: Option<CuRefNo>,
    email: Option<Email>,
    /// Replaces the e-mail address; cannot be null.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    new_email: Option<Email>,
    #[serde(default, deserialize_with = "blank_clears")]
    #[schema(value_type = Option<ProfileText>)]
    first_name: Option<Option<ProfileText>>,
    #[serde(default, deserialize_with = "blank_clears")]
    #[schema(value_type = Option<ProfileText>)]
    last_name: Option<Option<ProfileText>>,
    #[serde(default, deserialize_with = "blank_clears")]
    #[schema(value_type = Option<ProfileText>)]
    company_name: Option<Option<ProfileText>>,
    #[serde(default, deserialize_with = "blank_clears")]
    #[schema(value_type = Option<ProfileText>)]
    phone: Option<Option<ProfileText>>,
    #[serde(default, deserialize_with = "blank_clears")]
    #[schema(value_type = Option<ProfileText>)]
    company_registration_number: Option<Option<ProfileText>>,
    #[serde(default, deserialize_with = "blank_clears")]
    #[schema(value_type = Option<ProfileText>)]
    tax_identification_number: Option<Option<ProfileText>>,
    /// The customer's own IP address, as the client's web server saw it.
    #[serde(default, deserialize_with = "blank_clears")]
    #[schema(value_type = Option<HostIp>)]
    customer_real_ip: Option<Option<HostIp>>,
}

impl RequestBody for UpdateRequest {
    type Valid = ProfileUpdate;

    fn check(self, invalid: &mut Vec<InvalidField>) -> Option<ProfileUpdate> {
        let cu_ref_no = self.cu_ref_no.map(NamedCustomer::CuRefNo);
        let customer = cu_ref_no.or(self.email.map(NamedCustomer::Email));
        let names = ["cuRefNo", "email"];
        if customer.is_none() && !names.iter().any(|name| is_invalid(name, invalid)) {
            invalid.push(InvalidField::missing_one_of(names));
        }
        let changes = ProfileChanges {
            email: self.new_email,
            first_name: self.first_name,
            last_name: self.last_name,
            company_name: self.company_name,
            phone: self.phone,
            company_registration_number: self.company_registration_number,
            tax_identification_number: self.tax_identification_number,
            real_ip: self.customer_real_ip,
        };
        Some(ProfileUpdate { customer: customer?, changes })
    }
}

impl RequiresScope for UpdateRequest {
    const SCOPES: &'static [RequiredScope] = &[RequiredScope::always(Scope::Write)];
}

impl ErrorExamples for UpdateRequest {
    fn error_examples() -> Vec<ApiError> {
        vec![
            InvalidField::missing_one_of(["cuRefNo", "email"]).into(),
            ApiError::customer_not_found(demo::CUSTOMER),
            ApiError::email_taken(CuRefNo::parse(demo::MANAGER).ok()),
        ]
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpdateResponse {
    #[serde(flatten)]
    success: Success,
    #[schema(value_type = CuRefNo)]
    cu_ref_no: String,
    #[serde(flatten)]
    #[schema(value_type = CustomerProfile)]
    profile: Option<CustomerProfile>,
}

/// Changes the profile of a customer.
///
/// Without the scope `customer.read` the answer has only `success` and `cuRefNo`.
#[utoipa::path(
    post,
    path = "/api/v1/customer/update-profile",
    tag = openapi::CUSTOMER,
    params(("Prefer" = inline(Option<Prefer>), Header, nullable = false, example = "handling=strict",
        description = "`handling=strict`: unknown fields and parameters are invalid (RFC 7240).")),
    request_body(content = UpdateRequest, example = json!({"cuRefNo": demo::CUSTOMER, "firstName": "Jan", "phone": null})),
    responses(
        (status = OK, body = UpdateResponse, description = "The customer as this call left it."),
        ErrorResponses<ApiJson<UpdateRequest>>,
    ),
)]
pub(crate) async fn update_profile(
    State(app): State<Arc<AppState>>,
    ApiJson { caller, body: update }: ApiJson<UpdateRequest>,
) -> Result<Json<UpdateResponse>, ApiError> {
    let may_read = caller.may(Scope::Read);
    let customer = match app.group_commit.update_customer(caller.submitter, update).await {
        Err(WriteError::EmailTaken(owner)) => return Err(ApiError::email_taken(may_read.then_some(owner))),
        customer => customer?,
    };
    let cu_ref_no = customer.cu_ref_no.clone();
    let profile = may_read.then(|| CustomerProfile::from(customer));
    Ok(Json(UpdateResponse { success: Success::TRUE, cu_ref_no, profile }))
}
