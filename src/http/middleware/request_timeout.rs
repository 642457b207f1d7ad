//! The time from a request's headers to its answer.

use std::pin::pin;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use tokio::time::timeout_at;

use crate::error::{ApiError, ErrorCode};
use crate::http::headers;
use crate::http::request_context::RequestContext;

/// Enforces the request timeout (503) and adds the headers about the key, to the 503 too. It is a 503 and not a 408, as a
/// slow body has been answered 408 before: the rest of the time is the server's. The time that a request waits for a change does not
/// count.
pub(crate) async fn request_timeout(
    State(longest): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let context = RequestContext::of(request.extensions());
    let end = context.started + longest;
    let mut handling = pin!(next.run(request));
    let mut handled = timeout_at(end, handling.as_mut()).await;
    if handled.is_err()
        && let Some(wait) = context.wait.get()
    {
        handled = timeout_at(end + *wait, handling).await;
    }
    let mut response = handled.unwrap_or_else(|_| {
        tracing::warn!("request timed out");
        ApiError::from(ErrorCode::ServiceUnavailable).into_response()
    });
    if let Some(allowance) = context.rate_limit.get() {
        headers::insert_rate_limit(response.headers_mut(), *allowance);
    }
    if let Some(at) = context.api_key.get().and_then(|key| key.sunset(Utc::now())) {
        headers::insert_sunset(response.headers_mut(), at);
    }
    response
}
