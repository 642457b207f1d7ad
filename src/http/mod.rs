//! The HTTP API: a request in, the contract's answer out. Knows no SQL and no sockets.
//!
//! [`router`] lists every route and every layer. A request passes the layers of [`middleware`], then an extractor of
//! [`extract`], which checks the API key before anything else of the request, then its endpoint in [`routes`].
//! [`openapi`] describes the endpoints to programs, [`pages`] to people. All of them share [`state`]; none imports the
//! router.

mod accept;
mod client_ip;
mod concurrency_limit;
mod cursors;
mod entity_tag;
mod extract;
mod headers;
mod identity_attempts;
mod middleware;
mod openapi;
mod pages;
mod request_context;
mod required_scope;
mod router;
mod routes;
mod state;
mod static_file;

pub(crate) use concurrency_limit::ConcurrencyLimit;
pub(crate) use identity_attempts::IdentityAttempts;
pub use router::openapi_document;
pub(crate) use router::{admin_router, router};
pub(crate) use state::AppState;
