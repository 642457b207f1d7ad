//! Cross-origin calls. Pages of any origin may call unless an operator names some (contract §3): the API key decides,
//! no cookie does.

use std::time::Duration;

use axum::http::Method;
use axum::http::header::{LINK, RETRY_AFTER};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use crate::config::Cors;
use crate::http::headers::{
    PREFERENCE_APPLIED, RATE_LIMIT_LIMIT, RATE_LIMIT_REMAINING, RATE_LIMIT_RESET, REQUEST_ID, SUNSET,
};

/// How long a browser may remember the answer to a preflight. Browsers cap it at two hours or less.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

pub(crate) fn cors(config: &Cors) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(config.origins().map_or_else(|| AllowOrigin::from(Any), AllowOrigin::list))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            REQUEST_ID,
            RATE_LIMIT_LIMIT,
            RATE_LIMIT_REMAINING,
            RATE_LIMIT_RESET,
            RETRY_AFTER,
            LINK,
            PREFERENCE_APPLIED,
            SUNSET,
        ])
        .max_age(PREFLIGHT_MAX_AGE)
}
