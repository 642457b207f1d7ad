//! `/metrics`, on a listener of its own: it is for whoever runs the server, not for its clients.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sqlx::PgPool;

use crate::error::{ApiError, ErrorCode};
use crate::http::{App, unreadable};
use crate::matching::Matcher;
use crate::metrics::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What Prometheus reads of this service.
pub fn router(app: &App) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(async || ApiError::from(ErrorCode::MethodNotAllowed))
        .with_state((Arc::clone(&app.metrics), app.pool.clone(), app.matcher.clone()))
}

async fn not_found(request: Request) -> ApiError {
    unreadable::refusal(&request).unwrap_or_else(|| ApiError::not_found("The requested path"))
}

type Measured = (Arc<Metrics>, PgPool, Matcher);

async fn metrics(State((metrics, pool, matcher)): State<Measured>) -> Result<Response, ApiError> {
    let text = metrics.text(&pool, &matcher).map_err(|_| ErrorCode::InternalError)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
