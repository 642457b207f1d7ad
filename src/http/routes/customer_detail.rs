//! `GET /api/v1/customer/detail` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::db::customer;
use crate::demo;
use crate::domain::{CuRefNo, CuRefNoError, Email, IdentityId, ProfileText, Scope};
use crate::error::{ApiError, ErrorCode, InvalidField};
use crate::http::extract::{ApiQuery, ParseQuery, Prefer, QueryParameters};
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

pub(crate) struct DetailQuery {
    identity: IdentityId,
    cu_ref_no: Option<CuRefNo>,
}

impl RequiresScope for DetailQuery {
    const SCOPES: &'static [RequiredScope] = &[RequiredScope::always(Scope::Session)];
}

impl ParseQuery for DetailQuery {
    fn parse(parameters: &mut QueryParameters<'_>) -> Result<Option<Self>, ApiError> {
        let identity = parameters.identity()?;
        if identity.is_none() && !parameters.is_invalid("identityId") {
            return Err(ErrorCode::UserMustBeAuthorized.into());
        }
        let cu_ref_no = parameters.get("cuRefNo");
        Ok(identity.map(|identity| Self { identity, cu_ref_no }))
    }
}

impl ErrorExamples for DetailQuery {
    fn error_examples() -> Vec<ApiError> {
        vec![
            InvalidField::in_query("cuRefNo", CuRefNoError).into(),
            ErrorCode::UserMustBeAuthorized.into(),
            ErrorCode::CustomerDetailNotPermitted.into(),
        ]
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CustomerDetail {
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
/// Any other customer is answered like one that does not exist.
#[utoipa::path(
    get,
    path = "/api/v1/customer/detail",
    tag = openapi::CUSTOMER,
    params(
        ("identityId" = inline(IdentityId), Query, example = json!(demo::IDENTITY), description = "The customer that is logged in."),
        ("cuRefNo" = inline(Option<CuRefNo>), Query, example = json!(demo::CUSTOMER), description = "The customer to show; the one that is logged in if absent."),
        ("Prefer" = inline(Option<Prefer>), Header, nullable = false, example = "handling=strict",
         description = "`handling=strict`: unknown parameters are invalid (RFC 7240)."),
    ),
    responses(
        (status = OK, body = CustomerDetail, description = "The customer's detail."),
        ErrorResponses<ApiQuery<DetailQuery>>,
    ),
)]
pub(crate) async fn get_customer_detail(
    State(app): State<Arc<AppState>>,
    ApiQuery { caller, query }: ApiQuery<DetailQuery>,
) -> Result<Json<CustomerDetail>, ApiError> {
    let find = async |db: &mut PgConnection| {
        customer::find_for_identity(db, caller.organisation_id, &query.identity, query.cu_ref_no.as_ref())
            .await
    };
    let find = async { Ok(app.pool.with_connection(caller.organisation_id, find).await?) };
    let customer = app.identity_attempts.find(caller.client(), &query.identity, find).await?;
    let customer = customer.ok_or(ErrorCode::CustomerDetailNotPermitted)?;
    Ok(Json(CustomerDetail {
        logged_in: true,
        cu_ref_no: customer.cu_ref_no,
        email: customer.email,
        phone: customer.phone,
        first_name: customer.first_name,
        last_name: customer.last_name,
        company_name: customer.company_name,
    }))
}
