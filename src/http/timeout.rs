//! The longest a request may take, from its headers to its answer.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ErrorCode};

/// Answers 503 in the place of an endpoint that is not done in time. A client that is late with its body has had its 408
/// before: what is left is ours to answer for.
pub(super) async fn limit(State(longest): State<Duration>, request: Request, next: Next) -> Response {
    tokio::time::timeout(longest, next.run(request)).await.unwrap_or_else(|_| {
        tracing::warn!("the request took too long");
        ApiError::from(ErrorCode::ServiceUnavailable).into_response()
    })
}
