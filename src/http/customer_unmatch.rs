//! `POST /api/v1/customer/customer-unmatch-customer` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::App;
use super::extract::JsonCall;
use super::success::Success;
use crate::domain::CuRefNo;
use crate::error::ApiError;
use crate::matching::{self, Unmatch, UnmatchError};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    manager_cu_ref_no: Option<CuRefNo>,
    customer_cu_ref_no: Option<CuRefNo>,
}

/// Deactivates the relation between two customers.
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    JsonCall { caller, body }: JsonCall<Body>,
) -> Result<Json<Success>, ApiError> {
    let manager = body.manager_cu_ref_no.ok_or_else(|| ApiError::missing_field("managerCuRefNo"))?;
    let customer = body.customer_cu_ref_no.ok_or_else(|| ApiError::missing_field("customerCuRefNo"))?;
    if manager == customer {
        return Err(ApiError::invalid("/customerCuRefNo", "A customer is not matched with itself."));
    }
    let unwanted = Unmatch { organisation_id: caller.organisation_id, manager, customer };
    matching::unmatch(&app.pool, &unwanted).await.map_err(|error| refusal(error, &unwanted))?;
    Ok(Json(Success::TRUE))
}

fn refusal(error: UnmatchError, Unmatch { manager, customer, .. }: &Unmatch) -> ApiError {
    match error {
        UnmatchError::CustomerNotFound(cu_ref_no) => ApiError::not_found(format!("Customer {cu_ref_no}")),
        UnmatchError::RelationNotFound => {
            ApiError::not_found(format!("Relation of {manager} and {customer}"))
        }
        UnmatchError::Database(error) => error.into(),
    }
}
