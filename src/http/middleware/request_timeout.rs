//! What bounds a call: a place among those that are worked on, its key's limit, and the time from its headers to its answer.
//! The first two are checked with the key ([`crate::http::extract`]); here they are kept for as long as the call lasts.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::error::{ApiError, ErrorCode};
use crate::http::headers;
use crate::http::request_context::Slot;
use crate::rate_limit::Allowance;

/// Gives the place back in the end, tells what is left of the limit, and answers 503 in the place of an endpoint that is not done
/// in time. A client that is late with its body has had its 408 before: what is left is ours to answer for.
pub(crate) async fn keep(State(longest): State<Duration>, mut request: Request, next: Next) -> Response {
    let _place = Slot::<OwnedSemaphorePermit>::open(request.extensions_mut());
    let allowance = Slot::<Allowance>::open(request.extensions_mut());
    let mut response = timeout(longest, next.run(request)).await.unwrap_or_else(|_| {
        tracing::warn!("the request took too long");
        ApiError::from(ErrorCode::ServiceUnavailable).into_response()
    });
    if let Some(allowance) = allowance.get() {
        headers::announce(response.headers_mut(), *allowance);
    }
    response
}
