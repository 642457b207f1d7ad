//! Every route and every layer of the API.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::middleware::{
    access_log, catch_panic, check_host, cors, hold_until_sent, key_cors, request_timeout, security_headers,
    server_timing,
};
use super::routes::{
    customer_create, customer_detail, customer_list, customer_match, customer_match_batch, customer_relation,
    customer_unmatch, customer_update, fallback, health, logout, magic_auth, match_changes,
    matched_customer_list, metrics, ping,
};
use super::state::AppState;
use super::{openapi, pages};
use crate::error::{ApiError, ErrorCode};
use crate::metrics::Metrics;

/// The endpoints of the API, each with its description.
fn endpoints() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new()
        .routes(routes!(customer_match::match_customers))
        .routes(routes!(customer_unmatch::unmatch_customers))
        .routes(routes!(customer_match_batch::match_customers_batch))
        .routes(routes!(customer_relation::get_relation))
        .routes(routes!(matched_customer_list::list_matched_customers))
        .routes(routes!(match_changes::list_match_changes))
        .routes(routes!(customer_detail::get_customer_detail))
        .routes(routes!(customer_list::list_customers))
        .routes(routes!(customer_create::create_customer))
        .routes(routes!(customer_update::update_profile))
        .routes(routes!(magic_auth::create_identity))
        .routes(routes!(logout::revoke_identity))
        .routes(routes!(ping::ping))
        .nest("/api/v1", OpenApiRouter::new().routes(routes!(ping::ping)))
        .routes(routes!(health::show_liveness))
        .routes(routes!(health::show_readiness))
}

/// The API and the pages. A request passes the layers from the top to the bottom.
pub(crate) fn router(state: Arc<AppState>) -> Router {
    let (routes, document) = endpoints().split_for_parts();
    expect_endpoints(&document, &state.metrics);
    routes
        .merge(pages::routes(openapi_document))
        .fallback(fallback::not_found)
        .method_not_allowed_fallback(fallback::method_not_allowed)
        .layer(
            ServiceBuilder::new()
                .layer(from_fn_with_state(Arc::clone(&state), access_log))
                .map_response(security_headers)
                .layer(from_fn(check_host))
                .layer(from_fn(key_cors))
                .layer(cors(&state.cors))
                .option_layer(state.server_timing.enabled.then(|| from_fn(server_timing)))
                .layer(from_fn_with_state(state.timeouts.request, request_timeout))
                .layer(from_fn_with_state(Arc::clone(&state), hold_until_sent))
                .layer(CatchPanicLayer::custom(catch_panic::internal_error)),
        )
        .with_state(state)
}

fn expect_endpoints(document: &OpenApi, metrics: &Metrics) {
    for (path, item) in &document.paths.paths {
        for (method, operation) in [("GET", &item.get), ("POST", &item.post)] {
            if operation.is_some() {
                metrics.expect_endpoint(path, method);
            }
        }
    }
}

/// What probes ask and Prometheus reads, on a listener of its own.
pub(crate) fn admin_router(state: Arc<AppState>) -> Router {
    Router::new()
        .route("/livez", get(health::show_liveness))
        .route("/readyz", get(health::show_readiness))
        .route("/metrics", get(metrics::show_metrics))
        .fallback(async || ApiError::not_found("The requested path"))
        .method_not_allowed_fallback(async || ApiError::from(ErrorCode::MethodNotAllowed))
        .with_state(state)
}

/// The OpenAPI document of every endpoint, as it is served and committed: JSON, with a line feed at its end.
pub fn openapi_document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document(endpoints().into_openapi()));
    &DOCUMENT
}
