//! `POST /api/v1/customer/customer-match-customer` (contract §1).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::App;
use super::extract::{JsonCall, Prefer};
use super::success::Success;
use crate::db::customer_match;
use crate::domain::{CuRefNo, Email, Notice, Timestamp};
use crate::error::{ApiError, ErrorCode};
use crate::matching::{Change, Customer, Match, MatchError, Outcome};

/// Unknown fields are ignored (documented promise: additive changes only).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    manager_cu_ref_no: Option<CuRefNo>,
    customer_cu_ref_no: Option<CuRefNo>,
    customer_email: Option<Email>,
    notice: Option<Notice>,
}

/// The answer to `Prefer: return=representation`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Representation {
    #[serde(flatten)]
    success: Success,
    relation: Relation,
    outcome: &'static str,
    customer_created: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relation {
    manager_cu_ref_no: String,
    customer_cu_ref_no: String,
    customer_email: Option<String>,
    notice: Option<String>,
    active: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Creates the many-to-many relation between two customers.
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
        MatchError::CustomerNotFound(cu_ref_no) => ApiError::not_found(format!("Customer {cu_ref_no}")),
        MatchError::SameCustomer => {
            ApiError::invalid(customer_field, "A customer cannot be matched with itself.")
        }
        MatchError::Busy => ErrorCode::ServiceUnavailable.into(),
        MatchError::Database(error) => ApiError::from(&*error),
    })?;
    if prefer.representation {
        let representation = represent(&app, caller.organisation_id, outcome).await?;
        Ok(([(Prefer::APPLIED, Prefer::REPRESENTATION)], Json(representation)).into_response())
    } else {
        Ok(Json(Success::TRUE).into_response())
    }
}

/// Reads the relation as it is after the commit. One that has been merged away meanwhile shows when the call is sent
/// again.
async fn represent(app: &App, organisation_id: i64, outcome: Outcome) -> Result<Representation, ApiError> {
    let relation =
        customer_match::find(&app.pool, organisation_id, outcome.manager_id, outcome.customer_id).await?;
    let relation = relation.ok_or(ErrorCode::ServiceUnavailable)?;
    Ok(Representation {
        success: Success::TRUE,
        relation: Relation {
            manager_cu_ref_no: relation.manager_cu_ref_no,
            customer_cu_ref_no: relation.customer_cu_ref_no,
            customer_email: relation.customer_email,
            notice: relation.notice,
            active: relation.active,
            created_at: relation.created_at.into(),
            updated_at: relation.updated_at.into(),
        },
        outcome: match outcome.change {
            Change::Created => "created",
            Change::Updated => "updated",
            Change::Unchanged => "unchanged",
            Change::Reactivated => "reactivated",
        },
        customer_created: outcome.customer_created,
    })
}
