//! What is found out deep inside a request, for a layer around it.

use std::sync::{Arc, OnceLock};

use axum::http::Extensions;

/// A place in a request's extensions, one for each kind of thing; the layer that made it keeps a clone.
pub(crate) struct Slot<T>(Arc<OnceLock<T>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> Slot<T> {
    /// Makes a place in this request.
    pub(crate) fn open(extensions: &mut Extensions) -> Self {
        let slot = Self(Arc::default());
        extensions.insert(slot.clone());
        slot
    }

    /// Leaves something, if there is a place for it. A request has one of each kind: of two the first stays.
    pub(crate) fn fill(extensions: &Extensions, found: T) {
        if let Some(Self(slot)) = extensions.get() {
            let _ = slot.set(found);
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.0.get()
    }
}
