//! Health for whoever restarts processes and routes traffic.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tokio::time::timeout;

use super::success::Success;
use crate::error::ApiError;
use crate::http::openapi::{self, Refusals, Refuses};
use crate::http::state::AppState;

/// Longer than a connection to the database is waited for, shorter than who asks waits (`healthcheck`: 3 s).
const PATIENCE: Duration = Duration::from_millis(2500);

/// The process answers.
#[utoipa::path(
    get,
    path = "/livez",
    tag = openapi::SERVER,
    responses((status = OK, body = Success, description = "It does."), Refusals<()>),
    security(()),
)]
pub(crate) async fn live() -> Json<Success> {
    Json(Success::TRUE)
}

/// Requests may be sent here.
///
/// A 503 says in `error.description` why not: `The server is shutting down.`, `The database does not answer.` or
/// `Migrations are pending.`
#[utoipa::path(
    get,
    path = "/readyz",
    tag = openapi::SERVER,
    responses(
        (status = OK, body = Success, description = "The database answers, its schema is current, and the server is not about to stop."),
        Refusals<NotReady>,
    ),
    security(()),
)]
pub(crate) async fn ready(State(app): State<Arc<AppState>>) -> Result<Json<Success>, ApiError> {
    if app.shutdown.is_cancelled() {
        return Err(NotReady::Draining.into());
    }
    match timeout(PATIENCE, app.schema.is_current(&app.pool)).await {
        Ok(Ok(true)) => Ok(Json(Success::TRUE)),
        Ok(Ok(false)) => Err(NotReady::MigrationsPending.into()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database is unavailable");
            Err(NotReady::NoDatabase.into())
        }
        Err(_) => {
            tracing::warn!("the database does not answer");
            Err(NotReady::NoDatabase.into())
        }
    }
}

/// Why no requests should be sent here.
enum NotReady {
    Draining,
    NoDatabase,
    MigrationsPending,
}

impl From<NotReady> for ApiError {
    fn from(reason: NotReady) -> Self {
        Self::unavailable(match reason {
            NotReady::Draining => "The server is shutting down.",
            NotReady::NoDatabase => "The database does not answer.",
            NotReady::MigrationsPending => "Migrations are pending.",
        })
    }
}

impl Refuses for NotReady {
    fn examples() -> Vec<ApiError> {
        vec![Self::NoDatabase.into()]
    }
}
