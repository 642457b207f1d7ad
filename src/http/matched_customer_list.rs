//! `GET /api/v1/customer/matched-customer-list` (contract §2).

use std::fmt::Display;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::App;
use super::extract::{Caller, Parameters, QueryCall};
use super::openapi::{self, Refusals, Refuses};
use super::{extract, identity};
use crate::db;
use crate::db::customer;
use crate::db::matched_customer::{self, MatchedCustomer, Place, Role};
use crate::demo;
use crate::domain::{
    CuRefNo, Cursor, CursorError, Email, IdentityId, Notice, PageLimit, ProfileText, SearchTerm, Timestamp,
};
use crate::error::{ApiError, ErrorCode};

pub(super) struct Query {
    whose: Whose,
    term: Option<SearchTerm>,
    cursor: Option<Cursor>,
    limit: PageLimit,
}

/// Whose list is asked for.
enum Whose {
    /// The list of the customer that is logged in.
    Identity(IdentityId),
    /// A back end may ask for the list of any of its customers.
    CuRefNo(CuRefNo),
}

impl extract::Query for Query {
    fn parse(parameters: &Parameters<'_>) -> Result<Self, ApiError> {
        let whose = match (parameters.identity()?, parameters.get("cuRefNo")?) {
            (Some(identity), None) => Whose::Identity(identity),
            (None, Some(cu_ref_no)) => Whose::CuRefNo(cu_ref_no),
            (Some(_), Some(_)) => {
                let rule = "Only one of the parameters \"identityId\" and \"cuRefNo\" may be given.";
                return Err(ApiError::invalid("cuRefNo", rule));
            }
            (None, None) => return Err(neither()),
        };
        Ok(Self {
            whose,
            term: parameters.get("query")?,
            cursor: parameters.get("cursor")?,
            limit: parameters.get("limit")?.unwrap_or_default(),
        })
    }
}

impl Refuses for Query {
    fn examples() -> Vec<ApiError> {
        vec![neither(), ErrorCode::UserMustBeAuthorized.into(), not_found(demo::CUSTOMER)]
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MatchedCustomerList)]
pub(super) struct Answer {
    items: Vec<Item>,
    /// Over all pages.
    #[schema(minimum = 0)]
    item_count: i64,
    /// Null on the last page.
    #[schema(required, value_type = Option<Cursor>)]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MatchedCustomer)]
struct Item {
    #[schema(value_type = CuRefNo)]
    cu_ref_no: String,
    #[schema(required, value_type = Option<Email>)]
    email: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    first_name: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    last_name: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    company_name: Option<String>,
    #[schema(required, value_type = Option<Notice>)]
    notice: Option<String>,
    role: RoleName,
    matched_at: Timestamp,
    updated_at: Timestamp,
}

/// What the listed customer is to the one whose list it is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Role)]
enum RoleName {
    Manager,
    Customer,
    Both,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Manager => Self::Manager,
            Role::Customer => Self::Customer,
            Role::Both => Self::Both,
        }
    }
}

impl From<MatchedCustomer> for Item {
    fn from(matched: MatchedCustomer) -> Self {
        Self {
            cu_ref_no: matched.cu_ref_no,
            email: matched.email,
            first_name: matched.first_name,
            last_name: matched.last_name,
            company_name: matched.company_name,
            notice: matched.notice,
            role: matched.role.into(),
            matched_at: matched.matched_at.into(),
            updated_at: matched.updated_at.into(),
        }
    }
}

fn neither() -> ApiError {
    ApiError::invalid("identityId", "One of the parameters \"identityId\" and \"cuRefNo\" is required.")
}

fn not_found(cu_ref_no: impl Display) -> ApiError {
    ApiError::not_found(format!("Customer {cu_ref_no}"))
}

/// List of the customers that a customer is matched with, newest first.
///
/// Exactly one of `identityId` and `cuRefNo` says whose list it is. Only active relations are listed.
#[utoipa::path(
    get,
    path = "/api/v1/customer/matched-customer-list",
    tag = openapi::CUSTOMER,
    params(
        ("identityId" = inline(Option<IdentityId>), Query, description = "The customer that is logged in."),
        ("cuRefNo" = inline(Option<CuRefNo>), Query, example = json!(demo::MANAGER),
         description = "In its place, for a back end: any customer of the organisation."),
        ("query" = inline(Option<SearchTerm>), Query, description = "Filter by name or e-mail; case and diacritics do not count."),
        ("limit" = inline(Option<PageLimit>), Query, description = "How many items a page has at most."),
        ("cursor" = inline(Option<Cursor>), Query, description = "The `nextCursor` of the page before; the first page if absent."),
    ),
    responses(
        (status = OK, body = Answer, description = "One page."),
        Refusals<QueryCall<Query>>,
    ),
)]
pub(super) async fn handle(
    State(app): State<Arc<App>>,
    QueryCall { caller, query }: QueryCall<Query>,
) -> Result<Json<Answer>, ApiError> {
    let limit = usize::from(query.limit.get());
    // One more tells whether there is another page.
    let rows = i64::from(query.limit.get()) + 1;
    let mut page = db::run(&app.pool, async |db| {
        let organisation = caller.organisation_id;
        let customer = whose_id(db, &caller, &query.whose).await?;
        let after = match &query.cursor {
            Some(cursor) => Some(place(db, &caller, cursor).await?),
            None => None,
        };
        let page = match &query.term {
            Some(term) => matched_customer::search(db, organisation, customer, term, after, rows).await,
            None => matched_customer::page(db, organisation, customer, after, rows).await,
        };
        page.map_err(ApiError::from)
    })
    .await?;
    let more = page.items.len() > limit;
    page.items.truncate(limit);
    let last = page.items.last().filter(|_| more);
    Ok(Json(Answer {
        next_cursor: last.map(|last| Cursor::after(last.matched_at, &last.cu_ref_no)),
        items: page.items.into_iter().map(Item::from).collect(),
        item_count: page.item_count,
    }))
}

async fn whose_id(db: &mut PgConnection, caller: &Caller, whose: &Whose) -> Result<i64, ApiError> {
    match whose {
        Whose::Identity(identity) => Ok(identity::viewer(db, caller, identity).await?.customer_id),
        Whose::CuRefNo(cu_ref_no) => customer::find_id(db, caller.organisation_id, cu_ref_no)
            .await?
            .ok_or_else(|| not_found(cu_ref_no)),
    }
}

/// A cursor names its customer by reference, the list is ordered by the internal id.
async fn place(db: &mut PgConnection, caller: &Caller, cursor: &Cursor) -> Result<Place, ApiError> {
    let id = customer::find_id_even_deleted(db, caller.organisation_id, &cursor.cu_ref_no).await?;
    let id = id.ok_or_else(|| Parameters::invalid("cursor", CursorError))?;
    Ok((cursor.matched_at, id))
}
