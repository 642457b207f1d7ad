//! `POST /api/v1/customer/customer-match-customer` (contract §1).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::App;
use super::extract::JsonCall;
use super::success::Success;
use crate::domain::{CuRefNo, Email, Notice};
use crate::error::{ApiError, ErrorCode};
use crate::matching::{Customer, Match, MatchError};

/// Unknown fields are ignored (documented promise: additive changes only).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    manager_cu_ref_no: Option<CuRefNo>,
    customer_cu_ref_no: Option<CuRefNo>,
    customer_email: Option<Email>,
    notice: Option<Notice>,
}

/// Creates the many-to-many relation between two customers.
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    JsonCall { caller, body }: JsonCall<Body>,
) -> Result<Json<Success>, ApiError> {
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
    app.matcher.submit(wanted).await.map_err(|error| match error {
        MatchError::CustomerNotFound(cu_ref_no) => ApiError::not_found(format!("Customer {cu_ref_no}")),
        MatchError::SameCustomer => {
            ApiError::invalid(customer_field, "A customer cannot be matched with itself.")
        }
        MatchError::Busy => ErrorCode::ServiceUnavailable.into(),
        MatchError::Database(error) => ApiError::from(&*error),
    })?;
    Ok(Json(Success::TRUE))
}
