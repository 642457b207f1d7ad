//! Every route and every layer of the API.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::middleware::{access_log, cors, request_timeout, security_headers};
use super::routes::{
    customer_create, customer_detail, customer_match, customer_unmatch, fallback, health, logout, magic_auth,
    matched_customer_list, metrics, ping,
};
use super::state::AppState;
use super::{openapi, pages};

/// The endpoints of the API, each with its description.
fn endpoints() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new()
        .routes(routes!(customer_match::handle))
        .routes(routes!(customer_unmatch::handle))
        .routes(routes!(matched_customer_list::handle))
        .routes(routes!(customer_detail::handle))
        .routes(routes!(customer_create::handle))
        .routes(routes!(magic_auth::handle))
        .routes(routes!(logout::handle))
        .routes(routes!(ping::handle))
        .nest("/api/v1", OpenApiRouter::new().routes(routes!(ping::handle)))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

/// The API and the pages. A request passes the layers from the top to the bottom.
pub(crate) fn router(state: Arc<AppState>) -> Router {
    Router::from(endpoints())
        .merge(pages::routes(openapi_document()))
        .fallback(fallback::not_found)
        .method_not_allowed_fallback(fallback::method_not_allowed)
        .layer(
            ServiceBuilder::new()
                .layer(from_fn_with_state(Arc::clone(&state.metrics), access_log::observe))
                .layer(cors::CrossOrigin::new(&state.cors))
                .map_response(security_headers::restrict)
                .layer(from_fn_with_state(state.timeouts.request, request_timeout::keep))
                .layer(CatchPanicLayer::custom(fallback::panicked)),
        )
        .with_state(state)
}

/// What Prometheus reads.
pub(crate) fn metrics_router(state: Arc<AppState>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .fallback(metrics::not_found)
        .method_not_allowed_fallback(metrics::method_not_allowed)
        .with_state(state)
}

/// The OpenAPI document of every endpoint, as it is served and committed: JSON, with a line feed at its end.
pub fn openapi_document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document(endpoints().into_openapi()));
    &DOCUMENT
}
