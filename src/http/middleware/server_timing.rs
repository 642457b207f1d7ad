//! `Server-Timing` (W3C): where the time of a request went.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use crate::http::request_context::RequestContext;
use crate::server_timing::Steps;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Adds the header, except to calls with a publishable key: times would tell whether a customer exists.
pub(crate) async fn server_timing(request: Request, next: Next) -> Response {
    let context = RequestContext::of(request.extensions());
    let steps = Steps::default();
    let mut response = steps.scope(next.run(request)).await;
    if context.api_key.get().is_some_and(|key| key.is_publishable()) {
        return response;
    }
    if let Ok(value) = HeaderValue::try_from(steps.to_header(context.started.elapsed())) {
        response.headers_mut().insert(SERVER_TIMING, value);
    }
    response
}
