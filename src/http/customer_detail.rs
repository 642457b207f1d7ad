//! `GET /api/v1/customer/detail` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::extract;
use super::extract::{Parameters, QueryCall};
use super::openapi::{self, Refusals, Refuses};
use crate::db::{self, customer};
use crate::demo;
use crate::domain::{CuRefNo, CuRefNoError, Email, IdentityId, ProfileText};
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

impl Refuses for Query {
    fn examples() -> Vec<ApiError> {
        vec![
            Parameters::invalid("cuRefNo", CuRefNoError),
            ErrorCode::UserMustBeAuthorized.into(),
            ErrorCode::CustomerDetailNotPermitted.into(),
        ]
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CustomerDetail)]
pub(super) struct Answer {
    /// Always true: without an identity there is no detail.
    logged_in: bool,
    #[schema(value_type = CuRefNo)]
    cu_ref_no: String,
    #[schema(required, value_type = Option<Email>)]
    email: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    phone: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    first_name: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    last_name: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    company_name: Option<String>,
}

/// The detail of the customer that is logged in, or of one that it manages.
///
/// Everybody else looks like nobody.
#[utoipa::path(
    get,
    path = "/api/v1/customer/detail",
    tag = openapi::CUSTOMER,
    params(
        ("identityId" = inline(IdentityId), Query, example = json!(demo::IDENTITY), description = "The customer that is logged in."),
        ("cuRefNo" = inline(Option<CuRefNo>), Query, example = json!(demo::CUSTOMER), description = "The customer to show; the one that is logged in if absent."),
    ),
    responses(
        (status = OK, body = Answer, description = "The customer's detail."),
        Refusals<QueryCall<Query>>,
    ),
)]
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    QueryCall { caller, query }: QueryCall<Query>,
) -> Result<Json<Answer>, ApiError> {
    let customer = db::run(&app.pool, async |db| {
        customer::find_for_identity(db, caller.organisation_id, &query.identity, query.cu_ref_no.as_ref())
            .await
    })
    .await?
    .ok_or(ErrorCode::UserMustBeAuthorized)?
    .ok_or(ErrorCode::CustomerDetailNotPermitted)?;
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
