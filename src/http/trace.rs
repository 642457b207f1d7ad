//! One id, one span and one log event for each request.
//!
//! Nothing of the URI is logged but the route's template: the query may hold the key.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::field::Empty;
use tracing::{Instrument, Span, info, info_span};
use uuid::Uuid;

use crate::db::api_key::KeyState;
use crate::error::ErrorCode;

/// On every answer; a client's own is taken over when it is sane.
pub(super) const REQUEST_ID: &str = "x-request-id";
const REQUEST_ID_MAX_OCTETS: usize = 64;

/// The outermost layer.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str);
    let span = info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = request.method().as_str(),
        route,
        organisation = Empty,
        key = Empty,
    );
    async {
        let mut response = next.run(request).await;
        let error = response.extensions().get::<ErrorCode>().map(|code| code.entry().code);
        info!(
            status = response.status().as_u16(),
            milliseconds = started.elapsed().as_secs_f64() * 1000.0,
            error,
            "answered"
        );
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }
    .instrument(span)
    .await
}

/// Notes on the request's span who calls.
pub(super) fn record_caller(key: &KeyState) {
    Span::current().record("organisation", key.organisation_id).record("key", key.mask.as_str());
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let octets = value.as_bytes();
        (1..=REQUEST_ID_MAX_OCTETS).contains(&octets.len())
            && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(octet))
    };
    headers.get(REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        #[expect(clippy::expect_used, reason = "hexadecimal digits and hyphens are a header value")]
        HeaderValue::from_str(text).expect("a UUID is a header value")
    })
}
