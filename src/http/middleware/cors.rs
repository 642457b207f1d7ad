//! Web front ends may call, of any origin unless an operator names some (contract §3: the key is what counts, no cookie
//! is).

use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{ACCESS_CONTROL_REQUEST_METHOD, LINK, RETRY_AFTER};
use axum::http::{HeaderName, Method};
use axum::response::Response;
use futures_util::future::Either;
use tower::{Layer, Service};
use tower_http::cors::{self, AllowHeaders, AllowOrigin, Any, CorsLayer};

use crate::config::Cors;
use crate::http::extract::Prefer;
use crate::http::{headers, middleware::access_log};

/// How long a browser may remember the answer to a preflight; browsers cap it at two hours or less.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// The layer that answers preflights and marks every other answer, but those to an OPTIONS that is no preflight.
#[derive(Clone)]
pub(crate) struct CrossOrigin(CorsLayer);

impl CrossOrigin {
    pub(crate) fn new(config: &Cors) -> Self {
        let origins = config.origins().map_or_else(|| AllowOrigin::from(Any), AllowOrigin::list);
        Self(
            CorsLayer::new()
                .allow_origin(origins)
                .allow_methods([Method::GET, Method::POST])
                .allow_headers(AllowHeaders::mirror_request())
                .expose_headers([
                    HeaderName::from_static(access_log::REQUEST_ID),
                    headers::LIMIT,
                    headers::REMAINING,
                    headers::RESET,
                    RETRY_AFTER,
                    LINK,
                    Prefer::APPLIED,
                ])
                .max_age(PREFLIGHT_MAX_AGE),
        )
    }
}

impl<S> Layer<S> for CrossOrigin {
    type Service = CrossOriginService<S>;

    fn layer(&self, inner: S) -> CrossOriginService<S> {
        CrossOriginService(self.0.layer(inner))
    }
}

/// tower-http's service takes any OPTIONS for a preflight; one that is none goes on, to be refused like every other wrong
/// method.
#[derive(Clone)]
pub(crate) struct CrossOriginService<S>(cors::Cors<S>);

impl<S: Service<Request, Response = Response>> Service<Request> for CrossOriginService<S> {
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
