//! Health for whoever restarts processes and routes traffic.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::App;
use super::success::Success;
use crate::db;
use crate::error::{ApiError, ErrorCode};

/// The process answers.
pub(super) async fn live() -> Json<Success> {
    Json(Success::TRUE)
}

/// The database answers, and the server is not about to stop.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Success>, ApiError> {
    if app.draining.is_cancelled() {
        return Err(ErrorCode::ServiceUnavailable.into());
    }
    db::ping(&app.pool).await?;
    Ok(Json(Success::TRUE))
}
