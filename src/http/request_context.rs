//! Values that extractors find out and the middleware around them needs.

use std::sync::{Arc, OnceLock};

use axum::http::Extensions;

use super::concurrency_limit::ConcurrencyPermit;
use crate::db::api_key::KeyState;
use crate::rate_limit::Allowance;

/// An extension of a request; the middleware that made it keeps a clone. Each value is set at most once.
#[derive(Clone, Default)]
pub(crate) struct RequestContext(Arc<Values>);

#[derive(Default)]
struct Values {
    /// Released with the last clone, at the end of the request.
    permit: OnceLock<ConcurrencyPermit>,
    api_key: OnceLock<Arc<KeyState>>,
    rate_limit: OnceLock<Allowance>,
    body_unread: OnceLock<()>,
}

impl RequestContext {
    /// The request's own. Without the middleware a new one, whose values are lost.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    pub(crate) fn hold_permit(&self, permit: ConcurrencyPermit) {
        let _ = self.0.permit.set(permit);
    }

    pub(crate) fn set_api_key(&self, key: &Arc<KeyState>) {
        let _ = self.0.api_key.set(Arc::clone(key));
    }

    /// For the access log: the key may be one that was rejected.
    pub(crate) fn api_key(&self) -> Option<&KeyState> {
        self.0.api_key.get().map(Arc::as_ref)
    }

    pub(crate) fn set_rate_limit(&self, allowance: Allowance) {
        let _ = self.0.rate_limit.set(allowance);
    }

    pub(crate) fn rate_limit(&self) -> Option<Allowance> {
        self.0.rate_limit.get().copied()
    }

    /// The body was not read to its end, so its connection cannot be used for another request.
    pub(crate) fn set_body_unread(&self) {
        let _ = self.0.body_unread.set(());
    }

    pub(crate) fn is_body_unread(&self) -> bool {
        self.0.body_unread.get().is_some()
    }
}
