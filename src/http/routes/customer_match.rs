//! `POST /api/v1/customer/customer-match-customer` (contract §1).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use utoipa::ToSchema;

use super::success::Success;
use crate::demo;
use crate::domain::{Change, CuRefNo, Email, Match, Matched, NamedCustomer, Notice, Relation, Scope};
use crate::error::{ApiError, ErrorCode, InvalidField};
use crate::group_commit::WriteError;
use crate::http::entity_tag::{entity_tag, precondition};
use crate::http::extract::{ApiJson, Prefer, RequestBody, is_invalid, required};
use crate::http::headers::PREFERENCE_APPLIED;
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

/// A publishable key gets the same answer whether the customers exist or not, and no earlier than this after its input was read:
/// an attempt that finds none takes other time.
const PUBLIC_ANSWER_AFTER: Duration = Duration::from_millis(100);
const CONDITION_NOT_ALLOWED: &str = "A publishable key may not use If-Match or If-None-Match, whose answer would tell whether the relation exists.";

/// At least one of `customerCuRefNo` and `customerEmail` is required; when both are given, `customerCuRefNo` decides.
// Unknown fields are ignored (documented promise: additive changes only).
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MatchRequest {
    /// Customer reference number of the owner of relation.
    #[schema(value_type = CuRefNo)]
    pub(super) manager_cu_ref_no: Option<CuRefNo>,
    /// Customer reference number of the customer of relation.
    pub(super) customer_cu_ref_no: Option<CuRefNo>,
    /// The customer's e-mail address. If no customer of the organisation has it, a guest customer is created.
    pub(super) customer_email: Option<Email>,
    /// Public note of this connection, visible to both customers. `""` clears the one that is there, absent or null
    /// keeps it.
    pub(super) notice: Option<Notice>,
}

impl RequestBody for MatchRequest {
    type Valid = Match;

    fn check(self, invalid: &mut Vec<InvalidField>) -> Option<Match> {
        let manager = required("managerCuRefNo", self.manager_cu_ref_no, invalid);
        let cu_ref_no = self.customer_cu_ref_no.map(NamedCustomer::CuRefNo);
        let customer = cu_ref_no.or(self.customer_email.map(NamedCustomer::Email));
        let names = ["customerCuRefNo", "customerEmail"];
        if customer.is_none() && !names.iter().any(|name| is_invalid(name, invalid)) {
            invalid.push(InvalidField::missing_one_of(names));
        }
        Some(Match { manager: manager?, customer: customer?, notice: self.notice, representation: false })
    }
}

impl RequiresScope for MatchRequest {
    const SCOPES: &'static [RequiredScope] = &[RequiredScope::always(Scope::Match).or_publishable()];
}

impl ErrorExamples for MatchRequest {
    fn error_examples() -> Vec<ApiError> {
        vec![
            ApiError::missing_field("managerCuRefNo"),
            ApiError::customer_not_found(demo::CUSTOMER),
            ApiError::sample(ErrorCode::PreconditionFailed),
        ]
    }
}

/// Only `success`, or everything with `Prefer: return=representation`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MatchResponse {
    #[serde(flatten)]
    success: Success,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    relation: Option<Relation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    outcome: Option<Change>,
    /// Whether a guest customer was created for the e-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    customer_created: Option<bool>,
}

impl MatchResponse {
    /// Of an unmatch.
    pub(super) fn ended(relation: Option<Relation>) -> Self {
        Self { success: Success::TRUE, relation, outcome: None, customer_created: None }
    }

    /// What the key may see of it: `sent` is what the call sent if the key may not read more.
    pub(super) fn represent(mut matched: Matched, sent: Option<&Match>) -> Self {
        if let (Some(relation), Some(sent)) = (&mut matched.relation, sent) {
            relation.hide_unsent(sent);
        }
        Self {
            success: Success::TRUE,
            relation: matched.relation,
            outcome: Some(matched.change),
            customer_created: Some(matched.customer_created),
        }
    }
}

/// The field that names the customer of a match.
pub(super) fn customer_field(customer: &NamedCustomer) -> &'static str {
    match customer {
        NamedCustomer::CuRefNo(_) => "/customerCuRefNo",
        NamedCustomer::Email(_) => "/customerEmail",
    }
}

pub(super) fn match_error(error: WriteError, customer_field: &str) -> ApiError {
    match error {
        WriteError::SameCustomer => {
            ApiError::invalid(customer_field, "A customer cannot be matched with itself.")
        }
        error => error.into(),
    }
}

/// Create many-to-many relation between two customers.
///
/// The relation is symmetric: one for a pair, however often and in whichever direction it is posted; posted in both,
/// both customers are managers. A relation that has ended becomes active again. `{"success":true}` is sent after the
/// commit is durable, and the call may be sent again without harm. Without the scope `customer.read` the relation in the answer has
/// only what the call sent, its version and its times. To a publishable key the answer is `{"success":true}` whether the customers exist or
/// not, and it may make no condition.
#[utoipa::path(
    post,
    path = "/api/v1/customer/customer-match-customer",
    tag = openapi::CUSTOMER,
    params(
        ("Prefer" = inline(Option<Prefer>), Header, nullable = false,
         description = "`return=representation`: the answer also shows the relation and what happened to it. `handling=strict`: unknown fields and parameters are invalid. Both: separated by a comma (RFC 7240)."),
        ("If-Match" = inline(Option<String>), Header, nullable = false, example = json!("\"3\""),
         description = "Only if the relation has one of these versions, each an `ETag` of an answer about it. `*`: only if it exists, active or ended. Else nothing is written, and the answer is 412 (RFC 9110)."),
        ("If-None-Match" = inline(Option<String>), Header, nullable = false, example = "*",
         description = "`*`: only if the two were never matched. Versions: only if the relation has none of them."),
    ),
    request_body(content = MatchRequest, example = demo::documented_body),
    responses(
        (status = OK, body = MatchResponse, description = "The two are matched.",
         headers(
             ("Preference-Applied" = String, description = "`return=representation`, if it was asked for."),
             ("ETag" = String, description = "Then the version of the relation as this call left it, between quotation marks."),
         ),
         example = json!({"success": true})),
        ErrorResponses<ApiJson<MatchRequest>>,
    ),
)]
pub(crate) async fn match_customers(
    State(app): State<Arc<AppState>>,
    prefer: Prefer,
    headers: HeaderMap,
    ApiJson { caller, body }: ApiJson<MatchRequest>,
) -> Result<Response, ApiError> {
    let precondition = precondition(&headers)?;
    let customer_field = customer_field(&body.customer);
    let is_public = caller.has_publishable_key();
    if is_public && !precondition.is_none() {
        return Err(ApiError::scope_not_allowed(CONDITION_NOT_ALLOWED));
    }
    let answer_from = Instant::now() + PUBLIC_ANSWER_AFTER;
    let representation = prefer.representation && !is_public;
    let wanted = Match { representation, ..body };
    let shows_relation = representation || !precondition.is_none();
    let sent = (shows_relation && !caller.may(Scope::Read)).then(|| wanted.clone());
    let result = app.group_commit.match_customers_if(caller.submitter, wanted, precondition).await;
    if is_public {
        sleep_until(answer_from).await;
        if let Err(WriteError::CustomerNotFound(_) | WriteError::SameCustomer) = result {
            return Ok(Json(Success::TRUE).into_response());
        }
    }
    let matched = result.map_err(|error| match error {
        WriteError::PreconditionFailed(Some(mut relation)) => {
            if let Some(sent) = &sent {
                relation.hide_unsent(sent);
                relation.hide_content();
            }
            ApiError::precondition_failed(Some(relation))
        }
        error => match_error(error, customer_field),
    })?;
    app.metrics.match_committed(caller.organisation_id, matched.change);
    if representation {
        let etag = matched.relation.as_ref().map(|relation| [(ETAG, entity_tag(relation.version))]);
        let response = MatchResponse::represent(matched, sent.as_ref());
        Ok((etag, [(PREFERENCE_APPLIED, Prefer::REPRESENTATION)], Json(response)).into_response())
    } else {
        Ok(Json(Success::TRUE).into_response())
    }
}
