//! `GET /ping/v1` and `GET /api/v1/ping/v1` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::success::Success;
use crate::error::ApiError;
use crate::http::extract::ValidApiKey;
use crate::http::openapi::{self, ErrorResponses};
use crate::http::state::AppState;

/// Confirms that the gateway received your request, resolved your key, and reached the platform.
#[utoipa::path(
    get,
    path = "/ping/v1",
    tag = openapi::SERVER,
    responses(
        (status = OK, body = Success, description = "The request arrived, its key is good, and the database answers."),
        ErrorResponses<ValidApiKey>,
    ),
)]
pub(crate) async fn ping(
    State(app): State<Arc<AppState>>,
    ValidApiKey { organisation_id }: ValidApiKey,
) -> Result<Json<Success>, ApiError> {
    app.pool.ping(organisation_id).await?;
    Ok(Json(Success::TRUE))
}
