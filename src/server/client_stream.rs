//! The stream of a client, which notices the client's end of it while hyper does not read.
//!
//! hyper answers a client that has ended only its sending side, as `nc -N` does: while a request is in flight it reads
//! nothing, so it does not notice that a client has left either. This stream looks whenever it is flushed, which hyper
//! does each time that the connection is polled.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

pub(super) struct ClientStream {
    stream: Either<TcpStream, TlsStream<TcpStream>>,
    input_ended: CancellationToken,
    /// The server has ended its own side, so the client's end means nothing any more.
    shut_down: bool,
}

impl ClientStream {
    /// `input_ended` is cancelled when the client has ended its sending side, or both.
    pub(super) fn new(
        stream: Either<TcpStream, TlsStream<TcpStream>>,
        input_ended: CancellationToken,
    ) -> Self {
        Self { stream, input_ended, shut_down: false }
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Either::Left(socket) => socket,
            Either::Right(tls) => tls.get_ref().0,
        }
    }

    /// # Errors
    ///
    /// The client has reset the connection, so it is certain that it reads no answer.
    fn look_for_the_end(&self, cx: &mut Context<'_>) -> io::Result<()> {
        let socket = self.socket();
        // Pending: there is nothing to look at, and the end will wake the task.
        if socket.poll_read_ready(cx).is_pending() {
            return Ok(());
        }
        let ready = pin!(socket.ready(Interest::READABLE | Interest::WRITABLE));
        let Poll::Ready(ready) = ready.poll(&mut Context::from_waker(Waker::noop())) else { return Ok(()) };
        let ready = ready?;
        if ready.is_write_closed() {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if ready.is_read_closed() {
            self.input_ended.cancel();
        }
        Ok(())
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientStream {
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
        if !self.shut_down {
            self.look_for_the_end(cx)?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut_down = true;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
