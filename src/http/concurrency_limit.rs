//! How many requests are handled at the same time: more would only wait for the database and for each other.
//!
//! A request counts from the moment when its key is looked at. Its body has been received by then, so a client that
//! sends slowly costs some memory and keeps no other out. Health and pages take no permit, so they answer on a server
//! that is full.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ApiError, ErrorCode};

pub(crate) struct ConcurrencyLimit(Arc<Semaphore>);

/// Released when dropped.
pub(crate) struct ConcurrencyPermit {
    _permit: OwnedSemaphorePermit,
}

impl ConcurrencyLimit {
    pub(crate) fn new(requests: u32) -> Self {
        Self(Arc::new(Semaphore::new(requests as usize)))
    }

    /// # Errors
    ///
    /// As many requests as may are being handled: 503, at once, so that clients back off while those in flight are
    /// still fast.
    pub(crate) fn acquire(&self) -> Result<ConcurrencyPermit, ApiError> {
        match Arc::clone(&self.0).try_acquire_owned() {
            Ok(permit) => Ok(ConcurrencyPermit { _permit: permit }),
            Err(_) => Err(ErrorCode::ServiceUnavailable.into()),
        }
    }
}
