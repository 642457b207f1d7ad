//! One statement a request on a pool of 16. Keys are remembered for ever, which customer-match does not allow itself.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, RwLock};

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, SecondsFormat, Utc};
use contenders::{Body, Caller, DETAIL, Failure, LIST, MATCH, success};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{FromRow, PgPool};

const MATCH_BY_REFERENCE: &str = include_str!("../../../match.sql");
const MATCH_BY_EMAIL: &str = include_str!("../../../match-by-email.sql");
const PAGE: &str = include_str!("../../../list.sql");
const FILTERED_PAGE: &str = include_str!("../../../filter.sql");
const FIND_DETAIL: &str = include_str!("../../../detail.sql");
/// Of a guest, should an e-mail address be new; none of the benchmark's is.
const GUEST: &str = "0000000000000000";

struct App {
    pool: PgPool,
    organisations: RwLock<HashMap<String, i64>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = App { pool: contenders::pool(16), organisations: RwLock::default() };
    let router = Router::new()
        .route(MATCH, post(match_customers))
        .route(LIST, get(list))
        .route(DETAIL, get(detail))
        .with_state(Arc::new(app));
    contenders::serve(router).await
}

async fn match_customers(
    State(app): State<Arc<App>>,
    Query(caller): Query<Caller>,
    Json(body): Json<Body>,
) -> Result<Json<Value>, Failure> {
    let organisation = app.organisation(&caller).await?;
    let statement = if body.customer_cu_ref_no.is_some() { MATCH_BY_REFERENCE } else { MATCH_BY_EMAIL };
    let mut query = sqlx::query(statement)
        .bind(organisation)
        .bind(body.manager_cu_ref_no)
        .bind(body.customer_cu_ref_no.as_ref().or(body.customer_email.as_ref()))
        .bind(body.notice);
    if body.customer_cu_ref_no.is_none() {
        query = query.bind(GUEST);
    }
    query.execute(&app.pool).await?;
    Ok(success())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListQuery {
    cu_ref_no: String,
    query: Option<String>,
    limit: Option<i64>,
}

#[derive(FromRow)]
struct Row {
    item_count: i64,
    cu_ref_no: Option<String>,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company_name: Option<String>,
    notice: Option<String>,
    is_manager: Option<bool>,
    is_managed: Option<bool>,
    matched_at: Option<DateTime<Utc>>,
    updated_at: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    items: Vec<Item>,
    item_count: i64,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    cu_ref_no: String,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company_name: Option<String>,
    notice: Option<String>,
    role: &'static str,
    matched_at: String,
    updated_at: String,
}

impl Row {
    fn into_item(self) -> Option<Item> {
        let format = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
        Some(Item {
            cu_ref_no: self.cu_ref_no?,
            email: self.email,
            first_name: self.first_name,
            last_name: self.last_name,
            company_name: self.company_name,
            notice: self.notice,
            role: match (self.is_manager?, self.is_managed?) {
                (true, true) => "both",
                (true, false) => "manager",
                (false, _) => "customer",
            },
            matched_at: format(self.matched_at?),
            updated_at: format(self.updated_at?),
        })
    }
}

async fn list(
    State(app): State<Arc<App>>,
    Query(caller): Query<Caller>,
    Query(query): Query<ListQuery>,
) -> Result<Json<List>, Failure> {
    let organisation = app.organisation(&caller).await?;
    let limit = query.limit.unwrap_or(32).clamp(1, 500);
    let statement = if query.query.is_some() { FILTERED_PAGE } else { PAGE };
    // One more tells whether there is another page.
    let mut select =
        sqlx::query_as::<_, Row>(statement).bind(organisation).bind(query.cu_ref_no).bind(limit + 1);
    if let Some(text) = query.query {
        // Case only, no diacritics.
        let escaped = text.to_lowercase().replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
        select = select.bind(format!("%{escaped}%"));
    }
    let rows = select.fetch_all(&app.pool).await?;
    let item_count = rows.first().ok_or(Failure::NotFound("customer"))?.item_count;
    let mut items: Vec<_> = rows.into_iter().filter_map(Row::into_item).collect();
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let last = items.last().filter(|_| more);
    let next_cursor = last.map(|last| format!("{}_{}", last.matched_at, last.cu_ref_no));
    Ok(Json(List { items, item_count, next_cursor }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DetailQuery {
    identity_id: String,
    cu_ref_no: Option<String>,
}

#[derive(FromRow)]
struct Detail {
    cu_ref_no: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company_name: Option<String>,
}

async fn detail(
    State(app): State<Arc<App>>,
    Query(caller): Query<Caller>,
    Query(query): Query<DetailQuery>,
) -> Result<Json<Value>, Failure> {
    let detail = sqlx::query_as::<_, Detail>(FIND_DETAIL)
        .bind(app.organisation(&caller).await?)
        .bind(Sha256::digest(&query.identity_id).to_vec())
        .bind(query.cu_ref_no)
        .fetch_optional(&app.pool)
        .await?
        .ok_or(Failure::NotLoggedIn)?;
    let cu_ref_no = detail.cu_ref_no.ok_or(Failure::NotFound("customer"))?;
    Ok(Json(json!({
        "loggedIn": true, "cuRefNo": cu_ref_no, "email": detail.email, "phone": detail.phone,
        "firstName": detail.first_name, "lastName": detail.last_name, "companyName": detail.company_name,
    })))
}

impl App {
    async fn organisation(&self, caller: &Caller) -> Result<i64, Failure> {
        let known = self.organisations.read().ok().and_then(|known| known.get(caller.api_key()).copied());
        if let Some(organisation) = known {
            return Ok(organisation);
        }
        let organisation = sqlx::query_scalar(
            "select organisation_id from api_key where hash = $1 and active and deleted_at is null",
        )
        .bind(caller.key_hash())
        .fetch_optional(&self.pool)
        .await?
        .ok_or(Failure::NotFound("API key"))?;
        if let Ok(mut known) = self.organisations.write() {
            known.insert(caller.api_key().to_owned(), organisation);
        }
        Ok(organisation)
    }
}
