//! Cross-origin calls. Pages of any origin may call unless an operator names some (contract §3): the API key decides,
//! no cookie does. The answer to a call with a publishable key can only be read by pages of its allowed origins.
//!
//! A preflight has no key, so each one is allowed: what it says is no more than that a call may be sent.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ETAG, LINK, RETRY_AFTER, VARY};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use crate::config::Cors;
use crate::http::headers::{
    PREFERENCE_APPLIED, RATE_LIMIT_LIMIT, RATE_LIMIT_REMAINING, RATE_LIMIT_RESET, REQUEST_ID, SUNSET,
};
use crate::http::request_context::RequestContext;

/// How long a browser may remember the answer to a preflight. Browsers cap it at two hours or less.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

pub(crate) fn cors(config: &Cors) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(config.origins().map_or_else(|| AllowOrigin::from(Any), named))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            REQUEST_ID,
            RATE_LIMIT_LIMIT,
            RATE_LIMIT_REMAINING,
            RATE_LIMIT_RESET,
            RETRY_AFTER,
            ETAG,
            LINK,
            PREFERENCE_APPLIED,
            SUNSET,
        ])
        .max_age(PREFLIGHT_MAX_AGE)
}

fn named(origins: Vec<HeaderValue>) -> AllowOrigin {
    AllowOrigin::predicate(move |origin, request| {
        request.method == Method::OPTIONS || origins.contains(origin)
    })
}

/// Replaces what [`cors`] allows when the key of the call is publishable.
pub(crate) async fn key_cors(request: Request, next: Next) -> Response {
    let context = RequestContext::of(request.extensions());
    let mut response = next.run(request).await;
    if context.api_key.get().is_some_and(|key| key.is_publishable()) {
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static("origin"));
        match context.allowed_origin.get() {
            Some(origin) => headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
            None => headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN),
        };
    }
    response
}
