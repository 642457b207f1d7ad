//! `GET /api/v1/customer/matched-customer-list` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::matched_customer::{List, Owner};
use crate::demo;
use crate::domain::{
    CuRefNo, Cursor, IdentityId, MatchedCustomer, PageLimit, Scope, SearchTerm, SignedCursor,
};
use crate::error::{ApiError, ErrorCode, InvalidField};
use crate::http::extract::{ApiQuery, ParseQuery, Prefer, QueryParameters};
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

pub(crate) struct ListQuery {
    owner: Owner,
    term: Option<SearchTerm>,
    cursor: Option<SignedCursor>,
    limit: PageLimit,
}

impl RequiresScope for ListQuery {
    const SCOPES: &'static [RequiredScope] =
        &[RequiredScope::with("identityId", Scope::Session), RequiredScope::with("cuRefNo", Scope::Read)];
}

impl ParseQuery for ListQuery {
    fn parse(parameters: &mut QueryParameters<'_>) -> Result<Option<Self>, ApiError> {
        let owner = match (parameters.identity()?, parameters.get("cuRefNo")) {
            (Some(identity), None) => Some(Owner::Identity(identity)),
            (None, Some(cu_ref_no)) => Some(Owner::CuRefNo(cu_ref_no)),
            (Some(_), Some(_)) => {
                let rule = "must not be given beside \"identityId\"";
                parameters.reject(InvalidField::in_query("cuRefNo", rule));
                None
            }
            (None, None) => {
                if !["identityId", "cuRefNo"].iter().any(|name| parameters.is_invalid(name)) {
                    parameters.reject(customer_missing());
                }
                None
            }
        };
        let (term, cursor) = (parameters.get("query"), parameters.get("cursor"));
        let limit = parameters.get("limit").unwrap_or_default();
        Ok(owner.map(|owner| Self { owner, term, cursor, limit }))
    }
}

impl ErrorExamples for ListQuery {
    fn error_examples() -> Vec<ApiError> {
        vec![
            customer_missing().into(),
            ErrorCode::UserMustBeAuthorized.into(),
            ApiError::customer_not_found(demo::CUSTOMER),
        ]
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MatchedCustomerList {
    items: Vec<MatchedCustomer>,
    /// Over all pages; at least, unless it is exact.
    #[schema(minimum = 0)]
    item_count: i64,
    /// False when the list is too long to be counted within bounds.
    item_count_exact: bool,
    /// Null on the last page.
    #[schema(required, value_type = Option<Cursor>)]
    next_cursor: Option<String>,
}

fn customer_missing() -> InvalidField {
    InvalidField::in_query("identityId", "is required, or \"cuRefNo\" in its place")
}

/// List of the customers that a customer is matched with, newest first.
///
/// Exactly one of `identityId` and `cuRefNo` names the customer. Only active relations are listed.
#[utoipa::path(
    get,
    path = "/api/v1/customer/matched-customer-list",
    tag = openapi::CUSTOMER,
    params(
        ("identityId" = inline(Option<IdentityId>), Query, description = "The customer that is logged in."),
        ("cuRefNo" = inline(Option<CuRefNo>), Query, example = json!(demo::MANAGER),
         description = "Instead of `identityId`, for a back end: any customer of the organisation."),
        ("query" = inline(Option<SearchTerm>), Query, description = "Filter by name or e-mail; case and diacritics are ignored."),
        ("limit" = inline(Option<PageLimit>), Query, description = "The most items of a page."),
        ("cursor" = inline(Option<Cursor>), Query, description = "The `nextCursor` of the page before; absent for the first page."),
        ("Prefer" = inline(Option<Prefer>), Header, nullable = false, example = "handling=strict",
         description = "`handling=strict`: unknown parameters are invalid (RFC 7240)."),
    ),
    responses(
        (status = OK, body = MatchedCustomerList, description = "One page."),
        ErrorResponses<ApiQuery<ListQuery>>,
    ),
)]
pub(crate) async fn list_matched_customers(
    State(app): State<Arc<AppState>>,
    ApiQuery { caller, query }: ApiQuery<ListQuery>,
) -> Result<Json<MatchedCustomerList>, ApiError> {
    let (organisation, owner) = (caller.organisation_id, &query.owner);
    let cursors = app.cursors(organisation).await?;
    let cursor = cursors.position(query.cursor.as_ref())?;
    let list = List {
        layout: app.pool.layout(),
        organisation_id: organisation,
        owner,
        term: query.term.as_ref(),
        after: cursor.as_ref(),
        limit: usize::from(query.limit.get()),
    };
    let page = match owner {
        Owner::Identity(identity) => {
            let read = async { Ok(app.page(&list).await?) };
            app.identity_attempts.find(caller.client(), identity, read).await?
        }
        Owner::CuRefNo(cu_ref_no) => {
            app.page(&list).await?.ok_or_else(|| ApiError::customer_not_found(cu_ref_no))?
        }
    };
    Ok(Json(MatchedCustomerList {
        items: page.items,
        item_count: page.item_count,
        item_count_exact: page.item_count_exact,
        next_cursor: page.next_cursor.map(|cursor| cursors.sign(&cursor)),
    }))
}
