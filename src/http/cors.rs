//! Web front ends may call, of any origin unless an operator names some (contract §3: the key is what counts, no cookie
//! is).

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{ACCESS_CONTROL_REQUEST_METHOD, LINK, RETRY_AFTER};
use axum::http::{HeaderName, Method};
use axum::middleware::Next;
use axum::response::Response;
use tower::{Layer, ServiceExt};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use super::extract::Prefer;
use super::{rate_limit, trace};
use crate::config::Cors;

/// How long a browser may remember the answer to a preflight; browsers cap it at two hours or less.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// What answers preflights and marks every other answer.
pub(super) fn layer(config: &Cors) -> CorsLayer {
    let origins = config.origins().map_or_else(|| AllowOrigin::from(Any), AllowOrigin::list);
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            HeaderName::from_static(trace::REQUEST_ID),
            rate_limit::LIMIT,
            rate_limit::REMAINING,
            rate_limit::RESET,
            RETRY_AFTER,
            LINK,
            Prefer::APPLIED,
        ])
        .max_age(PREFLIGHT_MAX_AGE)
}

/// The layer takes any OPTIONS for a preflight; one that is none goes on, to be refused like every other wrong method.
pub(super) async fn allow(State(layer): State<CorsLayer>, request: Request, next: Next) -> Response {
    let preflight = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() == Method::OPTIONS && !preflight {
        return next.run(request).await;
    }
    match layer.layer(next).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
