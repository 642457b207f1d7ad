//! How many requests are handled at the same time: more would only wait for the database and for each other.
//!
//! A request counts from the moment when its key is looked at. Its body has been received by then, so a client that
//! sends slowly costs some memory and keeps no other out. Health and pages take no permit, so they answer on a server
//! that is full.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ErrorCode;

pub(crate) struct ConcurrencyLimit(Arc<Semaphore>);

impl ConcurrencyLimit {
    pub(crate) fn new(requests: u32) -> Self {
        Self(Arc::new(Semaphore::new(requests as usize)))
    }

    /// # Errors
    ///
    /// The limit is reached: 503 at once, so that clients back off while requests in flight are still fast.
    pub(crate) fn acquire(&self) -> Result<OwnedSemaphorePermit, ErrorCode> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| ErrorCode::ServiceUnavailable)
    }
}
