//! What one connection is doing, which decides when it is closed.
//!
//! One rule ends idle and slow connections, for both versions of HTTP and before the version is known: a connection
//! without a request in flight is closed after the header timeout while bytes of a request arrive or before its first
//! request, else after the idle timeout. A request in flight has timeouts of its own (body, request), which are the
//! API's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::Version;
use tokio::time::Instant;

use crate::config::Timeouts;

/// Shared by the driver, the stream and the requests of a connection.
#[derive(Clone)]
pub(super) struct ConnectionState(Arc<Mutex<State>>);

struct State {
    /// Received and not yet answered.
    requests_in_flight: u32,
    /// Bytes have arrived that are no request yet, or there was none so far.
    receiving: bool,
    /// The last request reads data and changes nothing.
    safe: bool,
    /// HTTP/2, where pings and window updates arrive between requests: bytes do not mean that a request begins.
    multiplexed: bool,
    /// The rest of a request's body may still be arriving, and is not read.
    body_unread: bool,
    /// The beginning of `receiving` or of being idle.
    since: Instant,
}

/// A request in flight; ended by dropping it, with its answer or because the connection broke.
pub(super) struct InFlightGuard(ConnectionState);

impl ConnectionState {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            requests_in_flight: 0,
            receiving: true,
            safe: true,
            multiplexed: false,
            body_unread: false,
            since: Instant::now(),
        })))
    }

    pub(super) fn bytes_received(&self) {
        let mut state = self.lock();
        if state.requests_in_flight == 0 && !state.receiving && !state.multiplexed {
            state.receiving = true;
            state.since = Instant::now();
        }
    }

    /// `safe`: its method is (RFC 9110, 9.2.1).
    pub(super) fn request_received(&self, version: Version, safe: bool) -> InFlightGuard {
        let mut state = self.lock();
        state.requests_in_flight += 1;
        state.receiving = false;
        state.safe = safe;
        state.multiplexed = version == Version::HTTP_2;
        InFlightGuard(self.clone())
    }

    /// When the connection is to be closed unless something happens before; `None` while a request is in flight.
    pub(super) fn close_at(&self, timeouts: &Timeouts) -> Option<Instant> {
        let state = self.lock();
        let timeout = if state.receiving { timeouts.header } else { timeouts.idle };
        (state.requests_in_flight == 0).then(|| state.since + timeout)
    }

    /// Whether a request is in flight that changes nothing.
    pub(super) fn is_reading_data(&self) -> bool {
        let state = self.lock();
        state.requests_in_flight > 0 && state.safe
    }

    /// Whether a request may be on its way that the server knows nothing of yet. HTTP/2 tells the client which requests
    /// were taken, so it may send the others elsewhere.
    pub(super) fn may_receive_request(&self) -> bool {
        let state = self.lock();
        state.requests_in_flight == 0 && !state.multiplexed
    }

    /// Whether the client may be sending bytes that nothing reads: the rest of a body, or what hyper could not parse.
    pub(super) fn has_unread_input(&self) -> bool {
        let state = self.lock();
        state.body_unread || state.receiving
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing leaves the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlightGuard {
    pub(super) fn leave_body_unread(&self) {
        self.0.lock().body_unread = true;
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.requests_in_flight -= 1;
        state.since = Instant::now();
    }
}
