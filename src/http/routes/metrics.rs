//! `GET /metrics`, in the format that Prometheus reads. It has a listener and a router of its own: it is for operators,
//! not for clients.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ErrorCode};
use crate::http::state::AppState;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) async fn show_metrics(State(app): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let expiring = app.maintenance.expiring_keys();
    let text = app.metrics.text(&app.pool, &app.group_commit, &expiring);
    let text = text.map_err(|_| ErrorCode::InternalError)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
