//! `POST /api/v1/customer/customer-unmatch-customer` (contract §2).

use std::fmt::Display;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::success::Success;
use crate::demo;
use crate::domain::{CuRefNo, Scope, Unmatch};
use crate::error::{ApiError, InvalidField};
use crate::group_commit::WriteError;
use crate::http::extract::{ApiJson, Prefer, RequestBody, required};
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

/// The order of the two does not matter.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UnmatchRequest {
    #[schema(value_type = CuRefNo)]
    manager_cu_ref_no: Option<CuRefNo>,
    #[schema(value_type = CuRefNo)]
    customer_cu_ref_no: Option<CuRefNo>,
}

impl RequestBody for UnmatchRequest {
    type Valid = Unmatch;

    fn check(self, invalid: &mut Vec<InvalidField>) -> Option<Unmatch> {
        let manager = required("managerCuRefNo", self.manager_cu_ref_no, invalid);
        let customer = required("customerCuRefNo", self.customer_cu_ref_no, invalid);
        Some(Unmatch { manager: manager?, customer: customer? })
    }
}

impl RequiresScope for UnmatchRequest {
    const SCOPES: &'static [RequiredScope] = &[RequiredScope::always(Scope::Match)];
}

impl ErrorExamples for UnmatchRequest {
    fn error_examples() -> Vec<ApiError> {
        vec![ApiError::missing_field("managerCuRefNo"), relation_not_found(demo::MANAGER, demo::CUSTOMER)]
    }
}

/// Deactivate many-to-many relation between two customers.
///
/// A relation that is inactive already is a success, one that never existed is 404.
#[utoipa::path(
    post,
    path = "/api/v1/customer/customer-unmatch-customer",
    tag = openapi::CUSTOMER,
    params(("Prefer" = inline(Option<Prefer>), Header, nullable = false, example = "handling=strict",
        description = "`handling=strict`: unknown fields and parameters are invalid (RFC 7240).")),
    request_body(content = UnmatchRequest, example = json!({"managerCuRefNo": demo::TRAINER, "customerCuRefNo": demo::CLIENT})),
    responses(
        (status = OK, body = Success, description = "The two are not matched any more."),
        ErrorResponses<ApiJson<UnmatchRequest>>,
    ),
)]
pub(crate) async fn unmatch_customers(
    State(app): State<Arc<AppState>>,
    ApiJson { caller, body: unwanted }: ApiJson<UnmatchRequest>,
) -> Result<Json<Success>, ApiError> {
    let Unmatch { manager, customer } = unwanted.clone();
    if manager == customer {
        return Err(ApiError::invalid("/customerCuRefNo", "A customer is not matched with itself."));
    }
    app.group_commit.unmatch_customers(caller.submitter, unwanted).await.map_err(|error| match error {
        WriteError::RelationNotFound => relation_not_found(manager, customer),
        error => error.into(),
    })?;
    Ok(Json(Success::TRUE))
}

pub(super) fn relation_not_found(manager: impl Display, customer: impl Display) -> ApiError {
    ApiError::not_found(format!("Relation of {manager} and {customer}"))
}
