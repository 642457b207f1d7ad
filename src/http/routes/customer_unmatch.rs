//! `POST /api/v1/customer/customer-unmatch-customer` (contract §2).

use std::fmt::Display;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::success::Success;
use crate::demo;
use crate::domain::{CuRefNo, Relation, Scope, Unmatch};
use crate::error::{ApiError, ErrorCode, InvalidField};
use crate::group_commit::WriteError;
use crate::http::entity_tag::{entity_tag, precondition};
use crate::http::extract::{ApiJson, Prefer, RequestBody, required};
use crate::http::headers::PREFERENCE_APPLIED;
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

/// The order of the two does not matter.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UnmatchRequest {
    #[schema(value_type = CuRefNo)]
    pub(super) manager_cu_ref_no: Option<CuRefNo>,
    #[schema(value_type = CuRefNo)]
    pub(super) customer_cu_ref_no: Option<CuRefNo>,
}

impl RequestBody for UnmatchRequest {
    type Valid = Unmatch;

    fn check(self, invalid: &mut Vec<InvalidField>) -> Option<Unmatch> {
        let manager = required("managerCuRefNo", self.manager_cu_ref_no, invalid);
        let customer = required("customerCuRefNo", self.customer_cu_ref_no, invalid);
        Some(Unmatch { manager: manager?, customer: customer?, representation: false })
    }
}

impl RequiresScope for UnmatchRequest {
    const SCOPES: &'static [RequiredScope] = &[RequiredScope::always(Scope::Match)];
}

impl ErrorExamples for UnmatchRequest {
    fn error_examples() -> Vec<ApiError> {
        vec![
            ApiError::missing_field("managerCuRefNo"),
            relation_not_found(demo::MANAGER, demo::CUSTOMER),
            ApiError::sample(ErrorCode::PreconditionFailed),
        ]
    }
}

/// Only `success`, or the relation too with `Prefer: return=representation`.
#[derive(Serialize, ToSchema)]
struct UnmatchResponse {
    #[serde(flatten)]
    success: Success,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    relation: Option<Relation>,
}

/// Deactivate many-to-many relation between two customers.
///
/// A relation that is inactive already is a success, one that never existed is 404. Without the scope `customer.read` the relation in the
/// answer has only what the call sent, its version and its times.
#[utoipa::path(
    post,
    path = "/api/v1/customer/customer-unmatch-customer",
    tag = openapi::CUSTOMER,
    params(
        ("Prefer" = inline(Option<Prefer>), Header, nullable = false,
         description = "`return=representation`: the answer also shows the relation. `handling=strict`: unknown fields and parameters are invalid. Both: separated by a comma (RFC 7240)."),
        ("If-Match" = inline(Option<String>), Header, nullable = false, example = json!("\"3\""),
         description = "Only if the relation has one of these versions, each an `ETag` of an answer about it. Else nothing is written, and the answer is 412 (RFC 9110)."),
        ("If-None-Match" = inline(Option<String>), Header, nullable = false, example = json!("\"3\""),
         description = "Only if the relation has none of these versions."),
    ),
    request_body(content = UnmatchRequest, example = json!({"managerCuRefNo": demo::TRAINER, "customerCuRefNo": demo::CLIENT})),
    responses(
        (status = OK, body = UnmatchResponse, description = "The two are not matched any more.",
         headers(
             ("Preference-Applied" = String, description = "`return=representation`, if it was asked for."),
             ("ETag" = String, description = "Then the version of the relation as this call left it, between quotation marks."),
         ),
         example = json!({"success": true})),
        ErrorResponses<ApiJson<UnmatchRequest>>,
    ),
)]
pub(crate) async fn unmatch_customers(
    State(app): State<Arc<AppState>>,
    prefer: Prefer,
    headers: HeaderMap,
    ApiJson { caller, body }: ApiJson<UnmatchRequest>,
) -> Result<Response, ApiError> {
    let precondition = precondition(&headers)?;
    let unwanted = Unmatch { representation: prefer.representation, ..body };
    check_unmatch(&unwanted)?;
    let may_read = caller.may(Scope::Read);
    let result = app.group_commit.unmatch_customers(caller.submitter, unwanted.clone(), precondition).await;
    let unmatched = result.map_err(|error| match error {
        WriteError::PreconditionFailed(Some(mut relation)) if !may_read => {
            relation.hide_content();
            ApiError::precondition_failed(Some(relation))
        }
        error => unmatch_error(error, &unwanted),
    })?;
    let relation = unmatched.shown(may_read);
    let headers = relation
        .as_ref()
        .map(|relation| [(PREFERENCE_APPLIED, Prefer::REPRESENTATION), (ETAG, entity_tag(relation.version))]);
    Ok((headers, Json(UnmatchResponse { success: Success::TRUE, relation })).into_response())
}

pub(super) fn check_unmatch(unwanted: &Unmatch) -> Result<(), ApiError> {
    if unwanted.manager == unwanted.customer {
        return Err(ApiError::invalid("/customerCuRefNo", "A customer is not matched with itself."));
    }
    Ok(())
}

pub(super) fn unmatch_error(error: WriteError, unwanted: &Unmatch) -> ApiError {
    match error {
        WriteError::RelationNotFound => relation_not_found(&unwanted.manager, &unwanted.customer),
        error => error.into(),
    }
}

pub(super) fn relation_not_found(manager: impl Display, customer: impl Display) -> ApiError {
    ApiError::not_found(format!("Relation of {manager} and {customer}"))
}
