//! The longest a request may take, from its headers to its answer.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ErrorCode};

/// Longer than a wait for a connection and a statement together: what the database is late with is 503 before this, so
/// what is left is a client that does not send its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers 408 in the place of an endpoint that is not done in time.
pub(super) async fn limit(request: Request, next: Next) -> Response {
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request))
        .await
        .unwrap_or_else(|_| ApiError::from(ErrorCode::RequestTimeout).into_response())
}
