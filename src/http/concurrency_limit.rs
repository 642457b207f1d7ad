//! How many requests are worked on at the same time: more would wait for the database and for each other.
//!
//! A request counts from the moment when all of it has been received. Those that are slow to send their body cost a
//! little memory only, and must not keep others out.

use std::sync::Arc;

use axum::http::Extensions;
use tokio::sync::Semaphore;

use super::request_context::Slot;
use crate::error::{ApiError, ErrorCode};

/// The places of all requests.
pub(crate) struct ConcurrencyLimit(Arc<Semaphore>);

impl ConcurrencyLimit {
    pub(crate) fn new(number: u32) -> Self {
        Self(Arc::new(Semaphore::new(number as usize)))
    }

    /// Takes a place for this request, which is given back when the slot for it goes.
    ///
    /// # Errors
    ///
    /// There is none left: 503.
    pub(crate) fn take(&self, extensions: &Extensions) -> Result<(), ApiError> {
        let place = Arc::clone(&self.0).try_acquire_owned().map_err(|_| ErrorCode::ServiceUnavailable)?;
        Slot::fill(extensions, place);
        Ok(())
    }
}
