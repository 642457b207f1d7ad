//! `POST /api/v1/customer/customer-match-customer` (contract §1).

use std::fmt::Display;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::extract::{JsonCall, Prefer};
use super::openapi::{self, Refusals, Refuses};
use super::success::Success;
use crate::db::{self, customer_match};
use crate::demo;
use crate::domain::{CuRefNo, Email, Notice, Timestamp};
use crate::error::{ApiError, ErrorCode};
use crate::matching::{Change, Customer, Match, MatchError, Outcome};

/// At least one of `customerCuRefNo` and `customerEmail` is required; when both are given, `customerCuRefNo` decides.
// Unknown fields are ignored (documented promise: additive changes only).
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MatchRequest)]
pub(super) struct Body {
    /// Customer reference number of the owner of relation.
    #[schema(value_type = CuRefNo)]
    manager_cu_ref_no: Option<CuRefNo>,
    /// Customer reference number of the customer of relation.
    customer_cu_ref_no: Option<CuRefNo>,
    /// The customer's e-mail address. When nobody in the organisation has it, a guest customer is created.
    customer_email: Option<Email>,
    /// Public note of this connection, visible to both customers. `""` clears the one that is there, absent or null
    /// keeps it.
    notice: Option<Notice>,
}

impl Refuses for Body {
    fn examples() -> Vec<ApiError> {
        vec![ApiError::missing_field("managerCuRefNo"), not_found(demo::CUSTOMER)]
    }
}

/// Only `success`, or everything with `Prefer: return=representation`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MatchResponse)]
struct Answer {
    #[serde(flatten)]
    success: Success,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    relation: Option<Relation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    outcome: Option<OutcomeName>,
    /// Whether a guest customer was created for the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    customer_created: Option<bool>,
}

/// The relation as it is after the call.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Relation {
    #[schema(value_type = CuRefNo)]
    manager_cu_ref_no: String,
    #[schema(value_type = CuRefNo)]
    customer_cu_ref_no: String,
    #[schema(required, value_type = Option<Email>)]
    customer_email: Option<String>,
    #[schema(required, value_type = Option<Notice>)]
    notice: Option<String>,
    /// Always true here: matching makes a relation active.
    active: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// What happened to the relation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MatchOutcome)]
enum OutcomeName {
    Created,
    Updated,
    Unchanged,
    Reactivated,
}

impl From<Change> for OutcomeName {
    fn from(change: Change) -> Self {
        match change {
            Change::Created => Self::Created,
            Change::Updated => Self::Updated,
            Change::Unchanged => Self::Unchanged,
            Change::Reactivated => Self::Reactivated,
        }
    }
}

/// Create many-to-many relation between two customers.
///
/// The relation is symmetric: one for a pair, however often and in whichever direction it is posted; posted in both, both
/// customers are managers. A relation that has ended becomes active again. `{"success":true}` is sent after the commit is
/// durable, and the call may be sent again without harm.
#[utoipa::path(
    post,
    path = "/api/v1/customer/customer-match-customer",
    tag = openapi::CUSTOMER,
    params(("Prefer" = inline(Option<Prefer>), Header, nullable = false,
        description = "`return=representation`: the answer also shows the relation and what happened to it (RFC 7240).")),
    request_body(content = Body, example = demo::documented_body),
    responses(
        (status = OK, body = Answer, description = "The two are matched.",
         headers(("Preference-Applied" = String, description = "`return=representation`, if it was asked for.")),
         example = json!({"success": true})),
        Refusals<JsonCall<Body>>,
    ),
)]
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    prefer: Prefer,
    JsonCall { caller, body }: JsonCall<Body>,
) -> Result<Response, ApiError> {
    let manager = body.manager_cu_ref_no.ok_or_else(|| ApiError::missing_field("managerCuRefNo"))?;
    let (customer, customer_field) = match (body.customer_cu_ref_no, body.customer_email) {
        (Some(cu_ref_no), _) => (Customer::CuRefNo(cu_ref_no), "/customerCuRefNo"),
        (None, Some(email)) => (Customer::Email(email), "/customerEmail"),
        (None, None) => {
            let rule = "One of the fields \"customerCuRefNo\" and \"customerEmail\" is required.";
            return Err(ApiError::invalid("/customerCuRefNo", rule));
        }
    };
    let wanted = Match { organisation_id: caller.organisation_id, manager, customer, notice: body.notice };
    let outcome = app.matcher.submit(wanted).await.map_err(|error| match error {
        MatchError::CustomerNotFound(cu_ref_no) => not_found(&cu_ref_no),
        MatchError::SameCustomer => {
            ApiError::invalid(customer_field, "A customer cannot be matched with itself.")
        }
        MatchError::Busy => ErrorCode::ServiceUnavailable.into(),
        MatchError::Database(error) => ApiError::from(&*error),
    })?;
    app.metrics.match_committed(outcome.change);
    if prefer.representation {
        let representation = represent(&app, caller.organisation_id, outcome).await?;
        Ok(([(Prefer::APPLIED, Prefer::REPRESENTATION)], Json(representation)).into_response())
    } else {
        Ok(Json(Success::TRUE).into_response())
    }
}

fn not_found(cu_ref_no: impl Display) -> ApiError {
    ApiError::not_found(format!("Customer {cu_ref_no}"))
}

/// Reads the relation as it is after the commit. One that has been merged away meanwhile shows when the call is sent
/// again.
async fn represent(app: &App, organisation_id: i64, outcome: Outcome) -> Result<Answer, ApiError> {
    let relation = db::run(&app.pool, async |db| {
        customer_match::find(db, organisation_id, outcome.manager_id, outcome.customer_id).await
    })
    .await?;
    let relation = relation.ok_or(ErrorCode::ServiceUnavailable)?;
    Ok(Answer {
        success: Success::TRUE,
        relation: Some(Relation {
            manager_cu_ref_no: relation.manager_cu_ref_no,
            customer_cu_ref_no: relation.customer_cu_ref_no,
            customer_email: relation.customer_email,
            notice: relation.notice,
            active: relation.active,
            created_at: relation.created_at.into(),
            updated_at: relation.updated_at.into(),
        }),
        outcome: Some(outcome.change.into()),
        customer_created: Some(outcome.customer_created),
    })
}
