//! `GET /api/v1/customer/list` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::db::customer_list;
use crate::domain::{Cursor, CursorError, Customer, PageLimit, Scope, SearchTerm, SignedCursor};
use crate::error::ApiError;
use crate::http::cursors::invalid_cursor;
use crate::http::extract::{ApiQuery, ParseQuery, Prefer, QueryParameters};
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

pub(crate) struct CustomersQuery {
    term: Option<SearchTerm>,
    cursor: Option<SignedCursor>,
    limit: PageLimit,
}

impl RequiresScope for CustomersQuery {
    const SCOPES: &'static [RequiredScope] = &[RequiredScope::always(Scope::Read)];
}

impl ParseQuery for CustomersQuery {
    fn parse(parameters: &mut QueryParameters<'_>) -> Result<Option<Self>, ApiError> {
        Ok(Some(Self {
            term: parameters.get("query"),
            cursor: parameters.get("cursor"),
            limit: parameters.get("limit").unwrap_or_default(),
        }))
    }
}

impl ErrorExamples for CustomersQuery {
    fn error_examples() -> Vec<ApiError> {
        vec![invalid_cursor(CursorError).into()]
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CustomerList {
    items: Vec<Customer>,
    /// Null on the last page.
    #[schema(required, value_type = Option<Cursor>)]
    next_cursor: Option<String>,
}

/// List of the organisation's customers, in the order of their reference numbers.
///
/// Deleted customers are not listed. A page may have fewer items than `limit`, even none: only a `nextCursor` that is null ends
/// the list.
#[utoipa::path(
    get,
    path = "/api/v1/customer/list",
    tag = openapi::CUSTOMER,
    params(
        ("query" = inline(Option<SearchTerm>), Query, description = "Filter by name or e-mail; case and diacritics are ignored."),
        ("limit" = inline(Option<PageLimit>), Query, description = "The most items of a page."),
        ("cursor" = inline(Option<Cursor>), Query, description = "The `nextCursor` of the page before; absent for the first page."),
        ("Prefer" = inline(Option<Prefer>), Header, nullable = false, example = "handling=strict",
         description = "`handling=strict`: unknown parameters are invalid (RFC 7240)."),
    ),
    responses(
        (status = OK, body = CustomerList, description = "One page."),
        ErrorResponses<ApiQuery<CustomersQuery>>,
    ),
)]
pub(crate) async fn list_customers(
    State(app): State<Arc<AppState>>,
    ApiQuery { caller, query }: ApiQuery<CustomersQuery>,
) -> Result<Json<CustomerList>, ApiError> {
    let organisation = caller.organisation_id;
    let cursors = app.cursors(organisation).await?;
    let after = cursors.position(query.cursor.as_ref())?;
    let limit = usize::from(query.limit.get());
    let (term, index_timeout) = (query.term.as_ref(), app.timeouts.filter);
    let read = async |db: &mut PgConnection| {
        customer_list::page(db, app.pool.layout(), organisation, term, after.as_ref(), limit, index_timeout)
            .await
    };
    let page = app.read(organisation, read).await?;
    let next_cursor = page.next_cursor.map(|cursor| cursors.sign(&cursor));
    Ok(Json(CustomerList { items: page.items, next_cursor }))
}
