//! `POST /api/v1/customer/create` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::customer_profile::CustomerProfile;
use super::success::Success;
use crate::domain::{CuRefNo, Email, HostIp, Profile, ProfileText, Registered, Registration, Scope};
use crate::error::{ApiError, InvalidField};
use crate::http::extract::{ApiJson, Prefer, RequestBody, blank_is_absent, required};
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

/// Blank texts count as absent.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateRequest {
    /// Unique within the organisation.
    #[schema(value_type = Email)]
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
    /// The customer's own IP address, as the client's web server saw it.
    customer_real_ip: Option<HostIp>,
}

impl RequestBody for CreateRequest {
    type Valid = Registration;

    fn check(self, invalid: &mut Vec<InvalidField>) -> Option<Registration> {
        let profile = Profile {
            first_name: self.first_name,
            last_name: self.last_name,
            company_name: self.company_name,
            phone: self.phone,
            company_registration_number: self.company_registration_number,
            tax_identification_number: self.tax_identification_number,
            real_ip: self.customer_real_ip,
        };
        Some(Registration::new(required("email", self.email, invalid)?, profile))
    }
}

impl RequiresScope for CreateRequest {
    const SCOPES: &'static [RequiredScope] = &[RequiredScope::always(Scope::Write)];
}

impl ErrorExamples for CreateRequest {
    fn error_examples() -> Vec<ApiError> {
        vec![ApiError::missing_field("email")]
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateResponse {
    #[serde(flatten)]
    success: Success,
    /// Whether this call registered the customer.
    created: bool,
    /// The fields in which the customer kept another value than the one that was sent; absent if there is none, or if the key lacks
    /// the scope `customer.read`. `update-profile` replaces them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, example = json!(["phone"]))]
    ignored: Vec<&'static str>,
    #[schema(value_type = CuRefNo)]
    cu_ref_no: String,
    #[serde(flatten)]
    #[schema(value_type = CustomerProfile)]
    profile: Option<CustomerProfile>,
}

/// Registers a new customer or returns an existing one by email.
///
/// Of an existing customer empty fields are filled in, none is overwritten; `ignored` names those that kept another value. Without the scope `customer.read` the answer has only
/// `success`, `created` and `cuRefNo`.
#[utoipa::path(
    post,
    path = "/api/v1/customer/create",
    tag = openapi::CUSTOMER,
    params(("Prefer" = inline(Option<Prefer>), Header, nullable = false, example = "handling=strict",
        description = "`handling=strict`: unknown fields and parameters are invalid (RFC 7240).")),
    request_body(content = CreateRequest, example = json!({"email": "eva@example.com", "firstName": "Eva", "lastName": "Nováková"})),
    responses(
        (status = OK, body = CreateResponse, description = "The customer as this call left it, with the fields of earlier calls."),
        ErrorResponses<ApiJson<CreateRequest>>,
    ),
)]
pub(crate) async fn create_customer(
    State(app): State<Arc<AppState>>,
    ApiJson { caller, body: registration }: ApiJson<CreateRequest>,
) -> Result<Json<CreateResponse>, ApiError> {
    let may_read = caller.may(Scope::Read);
    let sent = may_read.then(|| registration.clone());
    let registered = app.group_commit.register_customer(caller.submitter, registration).await?;
    let ignored = sent.map(|sent| sent.ignored_by(&registered)).unwrap_or_default();
    let Registered { created, customer, .. } = registered;
    let cu_ref_no = customer.cu_ref_no.clone();
    let profile = may_read.then(|| CustomerProfile::from(customer));
    Ok(Json(CreateResponse { success: Success::TRUE, created, ignored, cu_ref_no, profile }))
}
