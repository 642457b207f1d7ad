//! Values that extractors find out and the middleware around them needs. Each but the permit is set at most once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::http::{Extensions, HeaderValue};
use tokio::time::Instant;

use super::concurrency_limit::RequestPermit;
use crate::db::api_key::KeyState;
use crate::error::ErrorCode;
use crate::rate_limit::Decision;

/// An extension of every request; the middleware that made it keeps a clone.
pub(crate) struct RequestContext {
    pub(crate) started: Instant,
    /// Released with the last clone, when the response has been sent, and while the request waits for a change.
    permit: Mutex<Option<RequestPermit>>,
    /// How long the request waits for a change, beyond the request timeout.
    pub(crate) wait: OnceLock<Duration>,
    /// Also set if the key was rejected for its state.
    pub(crate) api_key: OnceLock<Arc<KeyState>>,
    /// The origin of the page that calls, if the key is publishable and allows it.
    pub(crate) allowed_origin: OnceLock<HeaderValue>,
    pub(crate) rate_limit: OnceLock<Decision>,
    /// The body was not read to its end, so its connection cannot be used for another request.
    pub(crate) body_unread: OnceLock<()>,
    /// Of a call whose answer goes on while its body arrives.
    pub(crate) stream: OnceLock<Arc<StreamCounts>>,
}

/// What a stream has come to so far.
#[derive(Default)]
pub(crate) struct StreamCounts {
    lines: AtomicU64,
    rejected: AtomicU64,
    /// Why it ended before its body did.
    error: OnceLock<ErrorCode>,
}

impl StreamCounts {
    pub(crate) fn count_line(&self) {
        self.lines.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end_with(&self, error: ErrorCode) {
        let _ = self.error.set(error);
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    pub(crate) fn error(&self) -> Option<ErrorCode> {
        self.error.get().copied()
    }
}

impl Default for RequestContext {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            permit: Mutex::default(),
            wait: OnceLock::new(),
            api_key: OnceLock::new(),
            allowed_origin: OnceLock::new(),
            rate_limit: OnceLock::new(),
            body_unread: OnceLock::new(),
            stream: OnceLock::new(),
        }
    }
}

impl RequestContext {
    /// The request's own. Without the middleware a new one, whose values are lost.
    pub(crate) fn of(extensions: &Extensions) -> Arc<Self> {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Takes the permit of the request, or releases it with `None`.
    pub(crate) fn set_permit(&self, permit: Option<RequestPermit>) {
        // Nothing panics while it is locked.
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}
