//! `GET /api/v1/customer/relation` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::customer_unmatch::relation_not_found;
use super::success::Success;
use crate::db::customer_match;
use crate::demo;
use crate::domain::{CuRefNo, RelationState, Scope};
use crate::error::{ApiError, InvalidField};
use crate::http::entity_tag::{EntityTags, entity_tag};
use crate::http::extract::{ApiQuery, ParseQuery, Prefer, QueryParameters};
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

pub(crate) struct RelationQuery {
    manager: CuRefNo,
    customer: CuRefNo,
}

impl RequiresScope for RelationQuery {
    const SCOPES: &'static [RequiredScope] = &[RequiredScope::always(Scope::Read)];
}

impl ParseQuery for RelationQuery {
    fn parse(parameters: &mut QueryParameters<'_>) -> Result<Option<Self>, ApiError> {
        let manager = parameters.required::<CuRefNo>("managerCuRefNo");
        let customer = parameters.required::<CuRefNo>("customerCuRefNo");
        if manager.is_some() && manager == customer {
            let rule = "must not name the manager: a customer is not matched with itself";
            parameters.reject(InvalidField::in_query("customerCuRefNo", rule));
        }
        Ok(manager.zip(customer).map(|(manager, customer)| Self { manager, customer }))
    }
}

impl ErrorExamples for RelationQuery {
    fn error_examples() -> Vec<ApiError> {
        vec![
            InvalidField::in_query("managerCuRefNo", "is required").into(),
            relation_not_found(demo::MANAGER, demo::CUSTOMER),
        ]
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct RelationResponse {
    #[serde(flatten)]
    success: Success,
    relation: RelationState,
}

/// The relation of two customers, active or ended.
///
/// The order of the two decides only `role`. The header `ETag` names the version, for `If-Match` of a match or an unmatch: so nothing
/// that another client has changed meanwhile is overwritten.
#[utoipa::path(
    get,
    path = "/api/v1/customer/relation",
    tag = openapi::CUSTOMER,
    params(
        ("managerCuRefNo" = inline(CuRefNo), Query, example = json!(demo::MANAGER), description = "One of the two customers."),
        ("customerCuRefNo" = inline(CuRefNo), Query, example = json!(demo::CUSTOMER), description = "The other one."),
        ("If-None-Match" = inline(Option<String>), Header, nullable = false, example = json!("\"3\""),
         description = "The answer is 304 while the relation has one of these versions."),
        ("Prefer" = inline(Option<Prefer>), Header, nullable = false, example = "handling=strict",
         description = "`handling=strict`: unknown parameters are invalid (RFC 7240)."),
    ),
    responses(
        (status = OK, body = RelationResponse, description = "The relation as it is now.",
         headers(("ETag" = String, description = "The version of the relation, between quotation marks."))),
        (status = NOT_MODIFIED, description = "The relation has one of the versions that the call names.",
         headers(("ETag" = String, description = "The version of the relation, between quotation marks."))),
        ErrorResponses<ApiQuery<RelationQuery>>,
    ),
)]
pub(crate) async fn get_relation(
    State(app): State<Arc<AppState>>,
    ApiQuery { caller, query }: ApiQuery<RelationQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let RelationQuery { manager, customer } = query;
    let known = EntityTags::of(&headers, &IF_NONE_MATCH)?;
    let organisation = caller.organisation_id;
    let find = async |db: &mut PgConnection| {
        customer_match::find(db, app.pool.layout(), organisation, &manager, &customer).await
    };
    let relation = app.pool.with_connection(organisation, find).await?;
    let relation = relation.ok_or_else(|| relation_not_found(manager, customer))?;
    let tag = entity_tag(relation.version);
    let is_known = known.is_some_and(|known| known.match_weakly(&tag));
    let headers = [(ETAG, tag)];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok((headers, Json(RelationResponse { success: Success::TRUE, relation })).into_response())
}
