//! The handler that one writes first: look up the key, look up both customers, insert; in a transaction, on a pool of 10,
//! which is sqlx's default. Matches only.

use std::error::Error;

use axum::extract::{Query, State};
use axum::routing::post;
use axum::{Json, Router};
use contenders::{Body, Caller, Failure, success};
use serde_json::Value;
use sqlx::{PgPool, PgTransaction};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    contenders::serve(Router::new().route(contenders::MATCH, post(handle)).with_state(contenders::pool(10)))
        .await
}

async fn handle(
    State(pool): State<PgPool>,
    Query(caller): Query<Caller>,
    Json(body): Json<Body>,
) -> Result<Json<Value>, Failure> {
    let mut transaction = pool.begin().await?;
    let organisation: i64 = sqlx::query_scalar(
        "select organisation_id from api_key where hash = $1 and active and deleted_at is null",
    )
    .bind(caller.key_hash())
    .fetch_optional(&mut *transaction)
    .await?
    .ok_or(Failure::NotFound("API key"))?;
    let manager = customer(&mut transaction, organisation, "cu_ref_no", &body.manager_cu_ref_no).await?;
    let customer = match (&body.customer_cu_ref_no, &body.customer_email) {
        (Some(cu_ref_no), _) => customer(&mut transaction, organisation, "cu_ref_no", cu_ref_no).await?,
        (None, Some(email)) => customer(&mut transaction, organisation, "email", email).await?,
        (None, None) => return Err(Failure::NotFound("customer")),
    };
    sqlx::query(
        r#"insert into customer_match (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
                                       created_at, matched_at, updated_at)
           values ($1, least($2 collate "C", $3), greatest($2 collate "C", $3), $2 collate "C" < $3, $3 collate "C" < $2, $4,
                   now(), now(), now())
           on conflict (organisation_id, low_cu_ref_no, high_cu_ref_no) do update set
               low_is_manager = customer_match.low_is_manager or excluded.low_is_manager,
               high_is_manager = customer_match.high_is_manager or excluded.high_is_manager,
               notice = coalesce(excluded.notice, customer_match.notice),
               updated_at = greatest(customer_match.updated_at, excluded.updated_at),
               deactivated_at = null,
               version = customer_match.version + 1"#,
    )
    .bind(organisation)
    .bind(manager)
    .bind(customer)
    .bind(body.notice)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(success())
}

/// The reference of the customer, which must not be deleted.
async fn customer(
    transaction: &mut PgTransaction<'_>,
    organisation: i64,
    column: &str,
    value: &str,
) -> Result<String, Failure> {
    let sql = format!(
        "select cu_ref_no from customer where organisation_id = $1 and {column} = $2 and deleted_at is null"
    );
    sqlx::query_scalar(&sql)
        .bind(organisation)
        .bind(value)
        .fetch_optional(&mut **transaction)
        .await?
        .ok_or(Failure::NotFound("customer"))
}
