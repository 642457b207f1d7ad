//! Values that extractors find out and the middleware around them needs. Each is set at most once.

use std::sync::{Arc, OnceLock};

use axum::http::{Extensions, HeaderValue};
use tokio::time::Instant;

use super::concurrency_limit::RequestPermit;
use crate::db::api_key::KeyState;
use crate::rate_limit::Decision;

/// An extension of every request; the middleware that made it keeps a clone.
pub(crate) struct RequestContext {
    pub(crate) started: Instant,
    /// Released with the last clone, when the response has been sent.
    pub(crate) permit: OnceLock<RequestPermit>,
    /// Also set if the key was rejected for its state.
    pub(crate) api_key: OnceLock<Arc<KeyState>>,
    /// The origin of the page that calls, if the key is publishable and allows it.
    pub(crate) allowed_origin: OnceLock<HeaderValue>,
    pub(crate) rate_limit: OnceLock<Decision>,
    /// The body was not read to its end, so its connection cannot be used for another request.
    pub(crate) body_unread: OnceLock<()>,
}

impl Default for RequestContext {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            permit: OnceLock::new(),
            api_key: OnceLock::new(),
            allowed_origin: OnceLock::new(),
            rate_limit: OnceLock::new(),
            body_unread: OnceLock::new(),
        }
    }
}

impl RequestContext {
    /// The request's own. Without the middleware a new one, whose values are lost.
    pub(crate) fn of(extensions: &Extensions) -> Arc<Self> {
        extensions.get().cloned().unwrap_or_default()
    }
}
