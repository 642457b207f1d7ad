//! The lingering close, after which a client can read the last answer.
//!
//! A socket that is closed while received bytes are unread sends a reset, and a reset discards what the client has not
//! read yet: the very answer that says why its request was rejected. So the server ends its own sending side first,
//! then reads and discards what still arrives until the client closes, for a limited time.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::connection_state::ConnectionState;

/// Enough for a client to read an answer, little enough for an abusive one to gain nothing.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that are discarded with one read.
const DISCARD_BUFFER: usize = 4096;

/// A stream under hyper. Reports received bytes to the connection's state; its shutdown is a lingering close if the
/// state has unread input.
pub(super) struct LingeringStream<S> {
    stream: S,
    state: ConnectionState,
    /// Set once the sending side has ended and a client may still be sending.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> LingeringStream<S> {
    pub(super) fn new(stream: S, state: ConnectionState) -> Self {
        Self { stream, state, deadline: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LingeringStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.state.bytes_received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LingeringStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, state, deadline } = &mut *self;
        let deadline = match deadline {
            Some(deadline) => deadline,
            None => {
                ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
                if !state.has_unread_input() {
                    return Poll::Ready(Ok(()));
                }
                deadline.insert(Box::pin(sleep(LINGER_TIMEOUT)))
            }
        };
        while deadline.as_mut().poll(cx).is_pending() {
            let mut space = [MaybeUninit::uninit(); DISCARD_BUFFER];
            let mut discarded = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut discarded))?;
            if discarded.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use hyper::Version;
    use tokio::io::{AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn discards_input_until_the_client_closes() {
        let (mut client, server) = duplex(16);
        let mut stream = LingeringStream::new(server, ConnectionState::new());
        let send_and_close = async {
            client.write_all(&[0; 100_000]).await.unwrap();
            drop(client);
        };
        let start = Instant::now();
        let (closed, ()) = tokio::join!(stream.shutdown(), send_and_close);
        closed.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_wait_longer_than_the_timeout() {
        let (_client, server) = duplex(16);
        let start = Instant::now();
        LingeringStream::new(server, ConnectionState::new()).shutdown().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), LINGER_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_wait_without_unread_input() {
        let (_client, server) = duplex(16);
        let state = ConnectionState::new();
        drop(state.request_received(Version::HTTP_11, true));
        let start = Instant::now();
        LingeringStream::new(server, state).shutdown().await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
