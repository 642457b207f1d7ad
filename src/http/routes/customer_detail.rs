//! `GET /api/v1/customer/detail` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::db::customer::{self, SeenCustomer};
use crate::demo;
use crate::domain::{CuRefNo, CuRefNoError, Customer, Email, IdentityId, ProfileText, Scope, Timestamp};
use crate::error::{ApiError, ErrorCode, InvalidField};
use crate::http::extract::{ApiQuery, ParseQuery, Prefer, QueryParameters};
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

pub(crate) enum DetailQuery {
    /// The customer that is logged in, or the one that it names.
    AsCustomer(IdentityId, Option<CuRefNo>),
    /// Any customer, for a back end.
    Any(CuRefNo),
}

impl RequiresScope for DetailQuery {
    const SCOPES: &'static [RequiredScope] =
        &[RequiredScope::with("identityId", Scope::Session), RequiredScope::with("cuRefNo", Scope::Read)];
}

impl ParseQuery for DetailQuery {
    fn parse(parameters: &mut QueryParameters<'_>) -> Result<Option<Self>, ApiError> {
        match (parameters.identity()?, parameters.get("cuRefNo")) {
            (Some(identity), cu_ref_no) => Ok(Some(Self::AsCustomer(identity, cu_ref_no))),
            (None, Some(cu_ref_no)) => Ok(Some(Self::Any(cu_ref_no))),
            (None, None) if ["identityId", "cuRefNo"].iter().any(|name| parameters.is_invalid(name)) => {
                Ok(None)
            }
            (None, None) => Err(ErrorCode::UserMustBeAuthorized.into()),
        }
    }
}

impl ErrorExamples for DetailQuery {
    fn error_examples() -> Vec<ApiError> {
        vec![
            InvalidField::in_query("cuRefNo", CuRefNoError).into(),
            ErrorCode::UserMustBeAuthorized.into(),
            ErrorCode::CustomerDetailNotPermitted.into(),
            ApiError::customer_not_found(demo::CUSTOMER),
        ]
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CustomerDetail {
    /// Whether the call had an `identityId`.
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
    #[serde(flatten)]
    #[schema(value_type = RestOfProfile)]
    rest: Option<RestOfProfile>,
}

/// Absent if the customer that is logged in sees another one.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RestOfProfile {
    #[schema(value_type = Option<ProfileText>)]
    company_registration_number: Option<String>,
    #[schema(value_type = Option<ProfileText>)]
    tax_identification_number: Option<String>,
    #[schema(value_type = Option<Timestamp>, nullable = false)]
    created_at: Timestamp,
    /// When the profile last changed.
    #[schema(value_type = Option<Timestamp>, nullable = false)]
    updated_at: Timestamp,
}

/// The detail of the customer that is logged in, or of one that it manages.
///
/// Any other customer is answered like one that does not exist. Without `identityId`, for a back end, any customer is shown.
/// Of one that it manages the customer that is logged in sees no numbers of the company and no times.
#[utoipa::path(
    get,
    path = "/api/v1/customer/detail",
    tag = openapi::CUSTOMER,
    params(
        ("identityId" = inline(Option<IdentityId>), Query, example = json!(demo::IDENTITY), description = "The customer that is logged in."),
        ("cuRefNo" = inline(Option<CuRefNo>), Query, example = json!(demo::CUSTOMER), description = "The customer to show; the one that is logged in if absent. One of the two is required."),
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
    let organisation = caller.organisation_id;
    match query {
        DetailQuery::AsCustomer(identity, cu_ref_no) => {
            let find = async |db: &mut PgConnection| {
                customer::find_for_identity(
                    db,
                    app.pool.layout(),
                    organisation,
                    &identity,
                    cu_ref_no.as_ref(),
                )
                .await
            };
            let find = async { Ok(app.pool.with_connection(organisation, find).await?) };
            let customer = app.identity_attempts.find(caller.client(), &identity, find).await?;
            let SeenCustomer { customer, is_own } = customer.ok_or(ErrorCode::CustomerDetailNotPermitted)?;
            Ok(Json(CustomerDetail::new(true, customer, is_own)))
        }
        DetailQuery::Any(cu_ref_no) => {
            let find = async |db: &mut PgConnection| customer::find(db, organisation, &cu_ref_no).await;
            let customer = app.pool.with_connection(organisation, find).await?;
            let customer = customer.ok_or_else(|| ApiError::customer_not_found(&cu_ref_no))?;
            Ok(Json(CustomerDetail::new(false, customer, true)))
        }
    }
}

impl CustomerDetail {
    fn new(logged_in: bool, customer: Customer, shows_all: bool) -> Self {
        let rest = RestOfProfile {
            company_registration_number: customer.company_registration_number,
            tax_identification_number: customer.tax_identification_number,
            created_at: customer.created_at,
            updated_at: customer.updated_at,
        };
        Self {
            logged_in,
            cu_ref_no: customer.cu_ref_no,
            email: customer.email,
            phone: customer.phone,
            first_name: customer.first_name,
            last_name: customer.last_name,
            company_name: customer.company_name,
            rest: shows_all.then_some(rest),
        }
    }
}
