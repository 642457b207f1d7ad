//! The HTTP side: every route and every layer is in this file, each endpoint in one of its own.
//!
//! A request passes [`trace`] (id, span, log event, metrics), [`cors`], [`security`] (headers), its [`bounds`], a net for panics
//! and then its endpoint, whose extractor ([`extract`]) checks the key before anything else is looked at. What is no request
//! that can be read passes the same layers ([`unreadable`]).

mod asset;
mod bounds;
mod client_address;
mod concurrency;
mod connection;
mod cors;
mod customer_create;
mod customer_detail;
mod customer_match;
mod customer_unmatch;
mod extract;
mod fallback;
mod health;
mod logout;
mod magic_auth;
mod matched_customer_list;
pub mod measure;
mod openapi;
mod pages;
mod ping;
mod rate_limit;
mod security;
pub mod server;
mod slot;
mod success;
pub mod tls;
mod trace;
mod unreadable;

pub use openapi::document;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::concurrency::Places;
use crate::config::{Config, Timeouts, TrustedProxies};
use crate::db;
use crate::db::migration::Schema;
use crate::group_commit::GroupCommit;
use crate::keys::{KeyRegistry, Pace};
use crate::metrics::{Connections, Metrics};

/// What the endpoints work with.
pub struct App {
    pool: PgPool,
    keys: Arc<KeyRegistry>,
    group_commit: GroupCommit,
    demo: bool,
    trusted_proxies: TrustedProxies,
    cors: cors::CrossOrigin,
    places: Places,
    metrics: Arc<Metrics>,
    timeouts: Timeouts,
    schema: Schema,
    draining: CancellationToken,
}

impl App {
    /// Endpoints over this database. In demo mode the documentation's sample key is accepted. Once `draining` is
    /// cancelled the server reports that it is not ready.
    pub fn new(pool: PgPool, config: &Config, demo: bool, draining: CancellationToken) -> Self {
        let group_commit = GroupCommit::start(&db::writer_options(&pool));
        let Config { rate_limits, timeouts, .. } = *config;
        let keys = Arc::new(KeyRegistry::start(pool.clone(), rate_limits, Pace::default()));
        let trusted_proxies = config.trusted_proxies.clone();
        let cors = cors::CrossOrigin::new(&config.cors);
        let places = Places::new(config.limits.requests);
        Self {
            pool,
            keys,
            group_commit,
            demo,
            trusted_proxies,
            cors,
            places,
            metrics: Arc::default(),
            timeouts,
            schema: Schema::default(),
            draining,
        }
    }

    /// What is counted of the connections that requests come over.
    pub fn connections(&self) -> Connections {
        self.metrics.connections()
    }

    /// The keys, to be closed when the server has stopped.
    pub fn keys(&self) -> Arc<KeyRegistry> {
        Arc::clone(&self.keys)
    }
}

/// The endpoints of the API, each with its description.
fn endpoints() -> OpenApiRouter<Arc<App>> {
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

/// The whole service.
pub fn router(app: App) -> Router {
    Router::from(endpoints())
        .merge(pages::routes())
        .fallback(fallback::not_found)
        .method_not_allowed_fallback(fallback::method_not_allowed)
        .layer(
            ServiceBuilder::new()
                .layer(from_fn_with_state(Arc::clone(&app.metrics), trace::observe))
                .layer(app.cors.clone())
                .map_response(security::restrict)
                .layer(from_fn_with_state(app.timeouts.request, bounds::keep))
                .layer(CatchPanicLayer::custom(fallback::panicked)),
        )
        .with_state(Arc::new(app))
}
