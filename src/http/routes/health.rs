//! Health checks: `/livez` for what restarts processes, `/readyz` for what routes traffic.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::success::Success;
use crate::db::DatabaseState;
use crate::error::ApiError;
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::state::AppState;

/// Longer than a check of the database, shorter than the prober's own timeout (`healthcheck`: 3 s; a scrape of Prometheus: 10 s), so
/// that the answer says what is wrong.
pub(super) const DATABASE_TIMEOUT: Duration = Duration::from_millis(2500);

/// The process answers.
#[utoipa::path(
    get,
    path = "/livez",
    tag = openapi::SERVER,
    responses((status = OK, body = Success, description = "The process answers."), ErrorResponses<()>),
    security(()),
)]
pub(crate) async fn show_liveness() -> Json<Success> {
    Json(Success::TRUE)
}

/// The server accepts requests.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    #[serde(flatten)]
    success: Success,
    /// True if the database rejects writes: reads are answered, writes are answered 503. Otherwise it is left out.
    #[serde(rename = "readOnly", skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false, examples(true))]
    is_read_only: bool,
}

/// The server can handle requests.
///
/// A 503 says in `error.description` why it cannot: `The server is shutting down.`, `The database does not answer.` or
/// `Migrations are pending.`
#[utoipa::path(
    get,
    path = "/readyz",
    tag = openapi::SERVER,
    responses(
        (status = OK, body = Ready, description = "The database answers, its schema is current, and the server is not shutting down."),
        ErrorResponses<NotReady>,
    ),
    security(()),
)]
pub(crate) async fn show_readiness(State(app): State<Arc<AppState>>) -> Result<Json<Ready>, ApiError> {
    if app.shutdown.is_cancelled() {
        return Err(NotReady::ShuttingDown.into());
    }
    match timeout(DATABASE_TIMEOUT, app.readiness.state()).await {
        Ok(Ok(DatabaseState { schema_is_current: false, .. })) => Err(NotReady::MigrationsPending.into()),
        Ok(Ok(state)) => Ok(Json(Ready { success: Success::TRUE, is_read_only: state.is_read_only })),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database is unavailable");
            Err(NotReady::DatabaseUnavailable.into())
        }
        Err(_) => {
            tracing::warn!("the database does not answer");
            Err(NotReady::DatabaseUnavailable.into())
        }
    }
}

/// Why requests should be sent elsewhere.
enum NotReady {
    ShuttingDown,
    DatabaseUnavailable,
    MigrationsPending,
}

impl From<NotReady> for ApiError {
    fn from(reason: NotReady) -> Self {
        Self::unavailable(match reason {
            NotReady::ShuttingDown => "The server is shutting down.",
            NotReady::DatabaseUnavailable => "The database does not answer.",
            NotReady::MigrationsPending => "Migrations are pending.",
        })
    }
}

impl ErrorExamples for NotReady {
    fn error_examples() -> Vec<ApiError> {
        vec![Self::DatabaseUnavailable.into()]
    }
}
