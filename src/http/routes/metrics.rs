//! `GET /metrics`, in the format that Prometheus reads. It has a listener and a router of its own: it is for operators,
//! not for clients.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::health::DATABASE_TIMEOUT;
use crate::error::{ApiError, ErrorCode};
use crate::http::state::AppState;
use crate::metrics::Readings;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) async fn show_metrics(State(app): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let database = timeout(DATABASE_TIMEOUT, app.readiness.state()).await;
    let readings = Readings {
        pool: &app.pool,
        replica: app.replica.get(),
        list_batch_sizes: app.list_batches.sizes(),
        group_commit: &app.group_commit,
        changes: &app.changes,
        expiring_keys: &app.maintenance.expiring_keys(),
        database: database.ok().and_then(Result::ok),
    };
    let text = app.metrics.text(&readings).map_err(|_| ErrorCode::InternalError)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
