//! What the contenders written with axum share: input and output of the match, and how they are started.

use std::env;
use std::error::Error;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::TcpListener;

/// The query string.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    api_key: String,
}

impl Caller {
    /// What the database knows of the key.
    pub fn key_hash(&self) -> Vec<u8> {
        Sha256::digest(&self.api_key).to_vec()
    }

    /// The key itself.
    pub fn api_key(&self) -> &str {
        &self.api_key
    }
}

/// The body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    pub manager_cu_ref_no: String,
    pub customer_cu_ref_no: Option<String>,
    pub customer_email: Option<String>,
    pub notice: Option<String>,
}

/// The documented success body.
pub fn success() -> Json<Value> {
    Json(json!({ "success": true }))
}

/// Anything else.
pub enum Failure {
    NotFound(&'static str),
    NotLoggedIn,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            // A foreign key of the relation.
            Some(error) if error.is_foreign_key_violation() => Self::NotFound("customer"),
            _ => Self::Database(error),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message.to_owned()),
            Self::NotLoggedIn => (StatusCode::UNAUTHORIZED, "not logged in".to_owned()),
            Self::Database(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        (status, Json(json!({ "error": { "message": message } }))).into_response()
    }
}

/// A pool on the database that PGHOST, PGUSER and PGDATABASE name.
pub fn pool(connections: u32) -> PgPool {
    PgPoolOptions::new().max_connections(connections).connect_lazy_with(PgConnectOptions::new())
}

/// Serves on the port that PORT names, until it is killed.
pub async fn serve(router: Router) -> Result<(), Box<dyn Error>> {
    let address = format!("127.0.0.1:{}", env::var("PORT")?);
    let listener = TcpListener::bind(address).await?.tap_io(|stream| {
        // As every framework does by default, axum excepted.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

pub const MATCH: &str = "/api/v1/customer/customer-match-customer";
pub const LIST: &str = "/api/v1/customer/matched-customer-list";
pub const DETAIL: &str = "/api/v1/customer/detail";
