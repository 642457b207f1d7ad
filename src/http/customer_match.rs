//! `POST /api/v1/customer/customer-match-customer` (contract §1).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::App;
use super::extract::JsonCall;
use super::success::Success;
use crate::domain::{CuRefNo, Email, Notice};
use crate::error::ApiError;
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
    app.matcher.submit(&wanted).await.map_err(|error| refusal(error, &wanted, customer_field))?;
    Ok(Json(Success::TRUE))
}

fn refusal(error: MatchError, wanted: &Match, customer_field: &str) -> ApiError {
    match (error, &wanted.customer) {
        (MatchError::ManagerNotFound, _) => ApiError::not_found(format!("Customer {}", wanted.manager)),
        (MatchError::CustomerNotFound, Customer::CuRefNo(cu_ref_no)) => {
            ApiError::not_found(format!("Customer {cu_ref_no}"))
        }
        (MatchError::CustomerNotFound, Customer::Email(email)) => {
            ApiError::not_found(format!("Customer {email}"))
        }
        (MatchError::SameCustomer, _) => {
            ApiError::invalid(customer_field, "A customer cannot be matched with itself.")
        }
        (MatchError::Database(error), _) => error.into(),
    }
}
