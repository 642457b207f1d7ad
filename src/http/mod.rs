//! The HTTP side: every route and every layer is in this file, each endpoint in one of its own.
//!
//! A request passes [`trace`] (id, span, log event), [`cors`], [`rate_limit`] (headers), a net for panics, [`timeout`] and then
//! its endpoint, whose extractor ([`extract`]) checks the key before anything else is looked at.

mod client_address;
mod cors;
mod customer_create;
mod customer_detail;
mod customer_match;
mod customer_unmatch;
mod extract;
mod fallback;
mod health;
mod identity;
mod logout;
mod magic_auth;
mod matched_customer_list;
mod ping;
mod rate_limit;
pub mod server;
mod success;
mod timeout;
mod trace;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use crate::config::{Config, RateLimits, Timeouts, TrustedProxies};
use crate::db;
use crate::keys::KeyRegistry;
use crate::matching::Matcher;

/// What the endpoints work with.
pub struct App {
    pool: PgPool,
    keys: KeyRegistry,
    matcher: Matcher,
    demo: bool,
    rate_limits: RateLimits,
    trusted_proxies: TrustedProxies,
    timeouts: Timeouts,
    draining: CancellationToken,
}

impl App {
    /// Endpoints over this database. In demo mode the documentation's sample key is accepted. Once `draining` is
    /// cancelled the server reports that it is not ready.
    pub fn new(pool: PgPool, config: &Config, demo: bool, draining: CancellationToken) -> Self {
        let matcher = Matcher::start(&db::writer_options(&pool));
        let Config { rate_limits, timeouts, .. } = *config;
        let keys = KeyRegistry::start(pool.clone(), rate_limits.unknown_keys);
        let trusted_proxies = config.trusted_proxies.clone();
        Self { pool, keys, matcher, demo, rate_limits, trusted_proxies, timeouts, draining }
    }
}

/// The whole service.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/api/v1/customer/customer-match-customer", post(customer_match::handle))
        .route("/api/v1/customer/customer-unmatch-customer", post(customer_unmatch::handle))
        .route("/api/v1/customer/matched-customer-list", get(matched_customer_list::handle))
        .route("/api/v1/customer/detail", get(customer_detail::handle))
        .route("/api/v1/customer/create", post(customer_create::handle))
        .route("/api/v1/customer/magic-auth", post(magic_auth::handle))
        .route("/api/v1/customer/logout", post(logout::handle))
        .route("/api/v1/ping/v1", get(ping::handle))
        .route("/ping/v1", get(ping::handle))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(fallback::not_found)
        .method_not_allowed_fallback(fallback::method_not_allowed)
        .layer(
            ServiceBuilder::new()
                .layer(from_fn(trace::observe))
                .layer(from_fn(cors::allow))
                .layer(from_fn(rate_limit::announce))
                .layer(CatchPanicLayer::custom(fallback::panicked))
                .layer(from_fn_with_state(app.timeouts.request, timeout::limit)),
        )
        .with_state(Arc::new(app))
}
