//! What the contenders written with axum share: the endpoint's input and output, and how they are started.

use std::env;
use std::error::Error;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
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
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message.to_owned()),
            Self::Database(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        (status, Json(json!({ "error": { "message": message } }))).into_response()
    }
}

/// A pool on the database that PGHOST, PGUSER and PGDATABASE name.
pub fn pool(connections: u32) -> PgPool {
    PgPoolOptions::new().max_connections(connections).connect_lazy_with(PgConnectOptions::new())
}

/// Serves the endpoint on the port that PORT names, until it is killed.
pub async fn serve<S: Clone + Send + Sync + 'static>(
    endpoint: MethodRouter<S>,
    state: S,
) -> Result<(), Box<dyn Error>> {
    let address = format!("127.0.0.1:{}", env::var("PORT")?);
    let router = Router::new().route("/api/v1/customer/customer-match-customer", endpoint).with_state(state);
    let listener = TcpListener::bind(address).await?.tap_io(|stream| {
        // As every framework does by default, axum excepted.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}
