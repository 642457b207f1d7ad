//! How many requests are handled at the same time: more would only wait for the database and for each other.
//!
//! A request counts while its key is looked up, and then for the organisation of its key, from the end of its body until its
//! response has been sent. So a client that sends slowly keeps no other out, and one that reads slowly only those of its own
//! organisation: that holds half of the permits at most. Health and pages take no permit, so they answer on a server that is
//! full.

use std::sync::Arc;

use crate::error::ErrorCode;
use crate::fair_budget::{FairBudget, Share};

pub(crate) struct ConcurrencyLimit(Arc<FairBudget<Option<i64>>>);

/// Released when dropped.
pub(crate) type RequestPermit = Share<Option<i64>>;

impl ConcurrencyLimit {
    pub(crate) fn new(requests: u32) -> Self {
        Self(FairBudget::new(requests.into()))
    }

    /// For a request of this organisation; `None` while that is not known.
    ///
    /// # Errors
    ///
    /// The limit is reached: 503 at once, so that clients back off while requests in flight are still fast.
    pub(crate) fn acquire(&self, organisation_id: Option<i64>) -> Result<RequestPermit, ErrorCode> {
        self.0.try_take(organisation_id, 1).ok_or(ErrorCode::ServiceUnavailable)
    }
}
