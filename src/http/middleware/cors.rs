//! Cross-origin calls. Pages of any origin may call unless an operator names some (contract §3): the API key decides,
//! no cookie does.

use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::Method;
use axum::http::header::{ACCESS_CONTROL_REQUEST_METHOD, LINK, RETRY_AFTER};
use axum::response::Response;
use futures_util::future::Either;
use tower::{Layer, Service};
use tower_http::cors::{self, AllowHeaders, AllowOrigin, Any};

use crate::config::Cors;
use crate::http::headers::{
    PREFERENCE_APPLIED, RATE_LIMIT_LIMIT, RATE_LIMIT_REMAINING, RATE_LIMIT_RESET, REQUEST_ID,
};

/// How long a browser may remember the answer to a preflight. Browsers cap it at two hours or less.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// tower-http's layer answers every OPTIONS as a preflight. Around it, this one passes an OPTIONS without
/// `Access-Control-Request-Method` on to the router, which answers 405 as to every other wrong method.
#[derive(Clone)]
pub(crate) struct CorsLayer(cors::CorsLayer);

impl CorsLayer {
    pub(crate) fn new(config: &Cors) -> Self {
        let origins = config.origins().map_or_else(|| AllowOrigin::from(Any), AllowOrigin::list);
        let layer = cors::CorsLayer::new()
            .allow_origin(origins)
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
            ])
            .max_age(PREFLIGHT_MAX_AGE);
        Self(layer)
    }
}

impl<S> Layer<S> for CorsLayer {
    type Service = CorsService<S>;

    fn layer(&self, inner: S) -> CorsService<S> {
        CorsService(self.0.layer(inner))
    }
}

#[derive(Clone)]
pub(crate) struct CorsService<S>(cors::Cors<S>);

impl<S: Service<Request, Response = Response>> Service<Request> for CorsService<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<<cors::Cors<S> as Service<Request>>::Future, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let preflight = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if request.method() == Method::OPTIONS && !preflight {
            Either::Right(self.0.get_mut().call(request))
        } else {
            Either::Left(self.0.call(request))
        }
    }
}
