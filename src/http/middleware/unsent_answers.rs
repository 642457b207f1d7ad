//! What an answer holds until it has been sent: the permit of its request, and a share of the budget of unsent bytes.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;

use crate::client::{HeldUntilSent, client_network};
use crate::error::{ApiError, ErrorCode};
use crate::http::client_ip::client_ip;
use crate::http::request_context::RequestContext;
use crate::http::state::AppState;

/// Shorter answers do not count: the limit of requests in flight bounds them.
const MAX_UNCOUNTED: u64 = 1024;

/// A client that reads too slowly for what it asks for gets a 503 in the place of an answer.
pub(crate) async fn hold_until_sent(
    State(app): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    let context = RequestContext::of(request.extensions());
    let (parts, body) = request.into_parts();
    let client = client_ip(&parts, &app.trusted_proxies).map(client_network);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    let bytes = response.body().size_hint().lower();
    let share = if bytes > MAX_UNCOUNTED { app.answer_budget.try_take(client, bytes) } else { None };
    if bytes > MAX_UNCOUNTED && share.is_none() {
        response = ApiError::from(ErrorCode::ServiceUnavailable).into_response();
    }
    response.extensions_mut().insert(HeldUntilSent(Arc::new((context, share))));
    response
}
