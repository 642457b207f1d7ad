//! `GET /ping/v1` and `GET /api/v1/ping/v1` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::success::Success;
use crate::db;
use crate::error::ApiError;
use crate::http::extract::AnyKey;
use crate::http::openapi::{self, Refusals};
use crate::http::state::AppState;

/// Confirms that the gateway received your request, resolved your key, and reached the platform.
#[utoipa::path(
    get,
    path = "/ping/v1",
    tag = openapi::SERVER,
    responses(
        (status = OK, body = Success, description = "The request arrived, its key is good, and the database answers."),
        Refusals<AnyKey>,
    ),
)]
pub(crate) async fn handle(State(app): State<Arc<AppState>>, _: AnyKey) -> Result<Json<Success>, ApiError> {
    db::ping(&app.pool).await?;
    Ok(Json(Success::TRUE))
}
