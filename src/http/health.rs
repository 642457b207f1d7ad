//! Health for whoever restarts processes and routes traffic.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::App;
use super::openapi::{self, Refusals};
use super::success::Success;
use crate::db;
use crate::error::{ApiError, ErrorCode};

/// The process answers.
#[utoipa::path(
    get,
    path = "/livez",
    tag = openapi::SERVER,
    responses((status = OK, body = Success, description = "It does."), Refusals<()>),
    security(()),
)]
pub(super) async fn live() -> Json<Success> {
    Json(Success::TRUE)
}

/// The database answers, and the server is not about to stop.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = openapi::SERVER,
    responses((status = OK, body = Success, description = "It does, and it is not."), Refusals<()>),
    security(()),
)]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Success>, ApiError> {
    if app.draining.is_cancelled() {
        return Err(ErrorCode::ServiceUnavailable.into());
    }
    db::ping(&app.pool).await?;
    Ok(Json(Success::TRUE))
}
