//! Requests that hyper cannot read: broken HTTP, or a head that is longer than may be.
//!
//! Hyper answers those by itself, with a status and nothing else, and nobody hears of it. Every answer is to have the contract's
//! shape, an id and its event, so that one is recognised where it is written and kept back, the stream is taken from hyper,
//! and the router is asked in the place of what could not be read. HTTP/2 has no such answers but one, a 431 in its own
//! encoding; what else it cannot read ends the stream or the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tower::ServiceExt;

use crate::error::ApiError;
use crate::server::Peer;

/// What the router is asked instead; its layers see the method and no path of theirs.
const IN_ITS_PLACE: &[u8] = b"UNREADABLE /unreadable HTTP/1.1\r\nConnection: close\r\n\r\n";

/// Marks what is asked instead, with the status that hyper would have answered.
#[derive(Clone, Copy)]
struct Unreadable(StatusCode);

/// What is said of the request if it stands for one that could not be read. No route has its path, so that only the
/// fallback need ask.
pub(crate) fn refusal(request: &Request) -> Option<ApiError> {
    let Unreadable(status) = request.extensions().get()?;
    Some(ApiError::unreadable(*status))
}

/// Has the router answer, and gives the stream back for the rest.
pub(crate) async fn answer<S: AsyncWrite + Send + Unpin>(
    stream: S,
    status: StatusCode,
    peer: Peer,
    router: Router,
) -> hyper::Result<S> {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(Unreadable(status));
        router.clone().oneshot(request)
    });
    let io = TokioIo::new(tokio::io::join(IN_ITS_PLACE, stream));
    // Nothing more can be read, which is no reason to leave.
    let connection = http1::Builder::new().half_close(true).serve_connection(io, service);
    let (_, stream) = connection.without_shutdown().await?.io.into_inner().into_inner();
    Ok(stream)
}

/// A stream that is hyper's until there is nothing more for hyper to say on it, because it has said all or could not read
/// what it was asked.
pub(crate) struct Lent<S> {
    /// `None`: given back. Whatever hyper does then, succeeds.
    stream: Option<S>,
    back: Option<oneshot::Sender<Returned<S>>>,
}

/// The stream, and the status that was to be answered to what could not be read.
pub(crate) type Returned<S> = (S, Option<StatusCode>);

impl<S> Lent<S> {
    pub(crate) fn new(stream: S) -> (Self, oneshot::Receiver<Returned<S>>) {
        let (back, returned) = oneshot::channel();
        (Self { stream: Some(stream), back: Some(back) }, returned)
    }

    fn give_back(&mut self, refusal: Option<StatusCode>) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            let _ = back.send((stream, refusal));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_read(cx, buffer),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(status) = of_hyper_itself(octets) {
            self.give_back(Some(status));
        }
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_write(cx, octets),
            None => Poll::Ready(Ok(octets.len())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(status) = parts.first().and_then(|part| of_hyper_itself(part)) {
            self.give_back(Some(status));
        }
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            None => Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.give_back(None);
        Poll::Ready(Ok(()))
    }
}

/// The status of an answer that hyper gives by itself: a refusal with no body, which the router never gives. It is written when
/// all before it is, so it begins what is written; and in no body of ours are there line ends of HTTP.
fn of_hyper_itself(octets: &[u8]) -> Option<StatusCode> {
    const NO_BODY: &[u8] = b"\r\ncontent-length: 0\r\n";
    let status = octets.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    let status = StatusCode::from_bytes(status).ok().filter(StatusCode::is_client_error)?;
    octets.windows(NO_BODY.len()).any(|line| line == NO_BODY).then_some(status)
}
