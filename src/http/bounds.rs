//! What bounds a call: a place among those that are worked on, its key's limit, and the time from its headers to its answer.
//! The first two are checked with the key ([`super::extract`]); here they are kept for as long as the call lasts.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::rate_limit;
use super::slot::Slot;
use crate::error::{ApiError, ErrorCode};
use crate::rate_limit::Decision;

/// Gives the place back in the end, tells what is left of the limit, and answers 503 in the place of an endpoint that is not done
/// in time. A client that is late with its body has had its 408 before: what is left is ours to answer for.
pub(super) async fn keep(State(longest): State<Duration>, mut request: Request, next: Next) -> Response {
    let _place = Slot::<OwnedSemaphorePermit>::open(request.extensions_mut());
    let allowance = Slot::<Decision>::open(request.extensions_mut());
    let mut response = timeout(longest, next.run(request)).await.unwrap_or_else(|_| {
        tracing::warn!("the request took too long");
        ApiError::from(ErrorCode::ServiceUnavailable).into_response()
    });
    if let Some(allowance) = allowance.get() {
        rate_limit::announce(response.headers_mut(), *allowance);
    }
    response
}
