//! `GET /metrics`, in the format that Prometheus reads.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ErrorCode};
use crate::http::state::AppState;
use crate::http::unreadable;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) async fn metrics(State(app): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let text = app.metrics.text(&app.pool, &app.matcher).map_err(|_| ErrorCode::InternalError)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

pub(crate) async fn not_found(request: Request) -> ApiError {
    unreadable::refusal(&request).unwrap_or_else(|| ApiError::not_found("The requested path"))
}

pub(crate) async fn method_not_allowed() -> ApiError {
    ErrorCode::MethodNotAllowed.into()
}
