//! `GET /ping/v1` and `GET /api/v1/ping/v1` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::App;
use super::extract::AnyKey;
use super::success::Success;
use crate::db;
use crate::error::ApiError;

/// Confirms that the request arrived, that its key is good, and that the database answers.
pub(super) async fn handle(State(app): State<Arc<App>>, _: AnyKey) -> Result<Json<Success>, ApiError> {
    db::ping(&app.pool).await?;
    Ok(Json(Success::TRUE))
}
