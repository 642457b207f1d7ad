//! `GET /api/v1/customer/detail` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::App;
use super::extract::{Parameters, QueryCall};
use super::{extract, identity};
use crate::db::customer;
use crate::domain::{CuRefNo, IdentityId};
use crate::error::{ApiError, ErrorCode};

pub(super) struct Query {
    identity: IdentityId,
    cu_ref_no: Option<CuRefNo>,
}

impl extract::Query for Query {
    fn parse(parameters: &Parameters<'_>) -> Result<Self, ApiError> {
        let identity = parameters.identity()?.ok_or(ErrorCode::UserMustBeAuthorized)?;
        Ok(Self { identity, cu_ref_no: parameters.get("cuRefNo")? })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    logged_in: bool,
    cu_ref_no: String,
    email: Option<String>,
    phone: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company_name: Option<String>,
}

/// The detail of the customer that is logged in, or of one that it manages. Everybody else looks like nobody.
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    QueryCall { caller, query }: QueryCall<Query>,
) -> Result<Json<Answer>, ApiError> {
    let mut db = app.pool.acquire().await?;
    let viewer = identity::viewer(&mut *db, &caller, &query.identity).await?;
    let wanted = query.cu_ref_no.as_ref().map_or(viewer.cu_ref_no.as_str(), CuRefNo::as_str);
    let customer =
        customer::find_for_viewer(&mut *db, caller.organisation_id, viewer.customer_id, wanted).await?;
    let customer = customer.ok_or(ErrorCode::CustomerDetailNotPermitted)?;
    Ok(Json(Answer {
        logged_in: true,
        cu_ref_no: customer.cu_ref_no,
        email: customer.email,
        phone: customer.phone,
        first_name: customer.first_name,
        last_name: customer.last_name,
        company_name: customer.company_name,
    }))
}
