//! The body of a response on its way to the client. What the response holds is released when its last byte has been written to the
//! socket, and the connection learns whether the client reads.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};

use super::connection_state::InFlightGuard;
use crate::client::HeldUntilSent;

/// Bytes that hyper gets at once. It asks for more when the client has read most of what it has.
const PIECE: usize = 16 * 1024;

pub(super) struct ResponseBody {
    body: Body,
    /// Of the last frame of `body`.
    rest: Bytes,
    unsent: Arc<Unsent>,
}

struct Unsent {
    in_flight: InFlightGuard,
    _held: Option<HeldUntilSent>,
}

/// Keeps `unsent` as long as hyper keeps any piece of the bytes.
struct UnsentBytes {
    bytes: Bytes,
    _unsent: Arc<Unsent>,
}

impl AsRef<[u8]> for UnsentBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ResponseBody {
    pub(super) fn new(body: Body, in_flight: InFlightGuard, held: Option<HeldUntilSent>) -> Self {
        in_flight.sending();
        Self { body, rest: Bytes::new(), unsent: Arc::new(Unsent { in_flight, _held: held }) }
    }
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.unsent.in_flight.sending();
        while self.rest.is_empty() {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                self.unsent.in_flight.handling();
                return Poll::Pending;
            };
            match frame.transpose()?.map(Frame::into_data) {
                Some(Ok(bytes)) => {
                    let _unsent = Arc::clone(&self.unsent);
                    self.rest = Bytes::from_owner(UnsentBytes { bytes, _unsent });
                }
                Some(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
