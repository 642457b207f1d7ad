//! What one connection is doing, which decides when it is closed.
//!
//! One rule ends idle and slow connections, for both versions of HTTP and before the version is known: a connection
//! without a request in flight is closed after the header timeout while bytes of a request arrive or before its first
//! request, else after the idle timeout. A request that is handled has timeouts of its own (body, request), which are the
//! API's, and so has one whose response goes on while its body arrives. A response of which the client reads nothing for the idle timeout ends
//! its connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::Version;
use tokio::time::Instant;

use crate::config::Timeouts;

/// Shared by the driver, the stream and the requests of a connection.
#[derive(Clone)]
pub(super) struct ConnectionState(Arc<Mutex<State>>);

struct State {
    /// Received, and not yet answered to the last byte. At most [`MAX_STREAMS`](super::connection::MAX_STREAMS).
    requests: Vec<InFlight>,
    next_id: u64,
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

struct InFlight {
    id: u64,
    /// When hyper last took bytes of the response; `None` while there are none to be sent: before the response, and while a stream
    /// has nothing to say.
    sending: Option<Instant>,
}

/// A request in flight; ended by dropping it, with the last byte of its response or because the connection broke.
pub(super) struct InFlightGuard {
    state: ConnectionState,
    id: u64,
}

impl ConnectionState {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            requests: Vec::new(),
            next_id: 0,
            receiving: true,
            safe: true,
            multiplexed: false,
            body_unread: false,
            since: Instant::now(),
        })))
    }

    pub(super) fn bytes_received(&self) {
        let mut state = self.lock();
        let is_handling = state.requests.iter().any(|request| request.sending.is_none());
        if !is_handling && !state.receiving && !state.multiplexed {
            state.receiving = true;
            state.since = Instant::now();
        }
    }

    /// `safe`: its method is (RFC 9110, 9.2.1).
    pub(super) fn request_received(&self, version: Version, safe: bool) -> InFlightGuard {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.requests.push(InFlight { id, sending: None });
        state.receiving = false;
        state.safe = safe;
        state.multiplexed = version == Version::HTTP_2;
        InFlightGuard { state: self.clone(), id }
    }

    /// When the connection is to be closed unless something happens before; `None` while all its requests are being handled.
    pub(super) fn close_at(&self, timeouts: &Timeouts) -> Option<Instant> {
        let state = self.lock();
        if state.requests.is_empty() {
            let timeout = if state.receiving { timeouts.header } else { timeouts.idle };
            Some(state.since + timeout)
        } else {
            let oldest = state.requests.iter().filter_map(|request| request.sending).min();
            oldest.map(|at| at + timeouts.idle)
        }
    }

    /// Whether a request is being handled that changes nothing.
    pub(super) fn is_reading_data(&self) -> bool {
        let state = self.lock();
        state.safe && state.requests.iter().any(|request| request.sending.is_none())
    }

    /// Whether a request may be on its way that the server knows nothing of yet. HTTP/2 tells the client which requests
    /// were taken, so it may send the others elsewhere.
    pub(super) fn may_receive_request(&self) -> bool {
        let state = self.lock();
        state.requests.is_empty() && !state.multiplexed
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
        self.state.lock().body_unread = true;
    }

    /// The response is being sent, and hyper asks for bytes of it.
    pub(super) fn sending(&self) {
        self.set_sending(Some(Instant::now()));
    }

    /// All that there is of the response was sent, and more will come.
    pub(super) fn handling(&self) {
        self.set_sending(None);
    }

    fn set_sending(&self, sending: Option<Instant>) {
        let mut state = self.state.lock();
        if let Some(request) = state.requests.iter_mut().find(|request| request.id == self.id) {
            request.sending = sending;
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.requests.retain(|request| request.id != self.id);
        state.since = Instant::now();
    }
}
