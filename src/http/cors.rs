//! Web front ends of any origin may call (contract §3: the key is what counts, no cookie is).

use std::sync::LazyLock;
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::ACCESS_CONTROL_REQUEST_METHOD;
use axum::http::{HeaderName, Method};
use axum::middleware::Next;
use axum::response::Response;
use tower::{Layer, ServiceExt};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use super::extract::Prefer;
use super::trace;

/// How long a browser may remember the answer to a preflight; browsers cap it at two hours or less.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

static LAYER: LazyLock<CorsLayer> = LazyLock::new(|| {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([HeaderName::from_static(trace::REQUEST_ID), Prefer::APPLIED])
        .max_age(PREFLIGHT_MAX_AGE)
});

/// Answers preflights and marks every other answer. The layer takes any OPTIONS for a preflight; one that is none goes on,
/// to be refused like every other wrong method.
pub(super) async fn allow(request: Request, next: Next) -> Response {
    let preflight = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() == Method::OPTIONS && !preflight {
        return next.run(request).await;
    }
    match LAYER.layer(next).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
