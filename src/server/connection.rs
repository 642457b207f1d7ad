//! One connection: its requests go to the router, its end comes from the client, a timeout, or the server's shutdown.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::client_stream::ClientStream;
use super::connection_state::ConnectionState;
use super::lingering_close::LingeringStream;
use super::response_body::ResponseBody;
use crate::client::Peer;
use crate::config::Timeouts;

/// The request line and the headers. The longest of the API have a key, an identity id and a search term.
const MAX_HEADER_BYTES: u32 = 32 * 1024;
/// Requests in flight on one HTTP/2 connection: as few as keep its round trips busy, because each takes memory.
pub(super) const MAX_STREAMS: u32 = 32;
/// Bytes of bodies that an HTTP/2 client may send before they are read, on one stream and on the whole connection: the default of
/// RFC 9113. hyper's is a megabyte for each connection.
const WINDOW: u32 = 65_535;
/// How often an HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long it has to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// At shutdown a request may be on its way on a connection that looks idle. It is waited for this long, and answered as
/// the last request of its connection.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);
/// A client whose input has ended may have left, or may have ended its sending side only and wait for the answer. A read is
/// given up after this time, which spares the database its query. A write, which would be finished without its client too, is
/// answered.
const HALF_CLOSED_GRACE: Duration = Duration::from_secs(1);
/// How long a connection may take to end once hyper was asked to end it: the time for a client to read its last answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that connections have in common.
#[derive(Clone)]
pub(super) struct ConnectionDriver {
    pub(super) protocol: Builder<TokioExecutor>,
    pub(super) router: Router,
    pub(super) timeouts: Timeouts,
    pub(super) malformed_requests: Counter,
    pub(super) shutdown: CancellationToken,
}

impl ConnectionDriver {
    /// Serves the requests of a connection until either side ends it.
    pub(super) async fn drive(self, stream: Either<TcpStream, TlsStream<TcpStream>>, peer: Peer) {
        let state = ConnectionState::new();
        let service = service_fn(|mut request: Request<Incoming>| {
            let version = request.version();
            let in_flight = state.request_received(version, request.method().is_safe());
            request.extensions_mut().insert(peer);
            let response = self.router.clone().oneshot(request);
            let shutdown = self.shutdown.clone();
            async move {
                let Ok(response) = response.await;
                let (mut head, body) = response.into_parts();
                // HTTP/2 has no such header and no need of one: a stream ends without its connection.
                if version != Version::HTTP_2 {
                    if head.headers.contains_key(CONNECTION) {
                        // The API's sign that it did not read the body to its end. The rest could not be told from a
                        // next request.
                        in_flight.leave_body_unread();
                    } else if shutdown.is_cancelled() {
                        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                }
                let held = head.extensions.remove();
                let body = ResponseBody::new(body, in_flight, held);
                Ok::<_, Infallible>(Response::from_parts(head, body))
            }
        });
        let input_ended = CancellationToken::new();
        let stream = ClientStream::new(stream, input_ended.clone());
        let stream = TokioIo::new(LingeringStream::new(stream, state.clone()));
        let mut connection = pin!(self.protocol.serve_connection(stream, service));
        let mut shutdown = pin!(async {
            self.shutdown.cancelled().await;
            if state.may_receive_request() {
                sleep(SHUTDOWN_GRACE).await;
            }
        });
        let mut half_closed = pin!(async {
            input_ended.cancelled().await;
            sleep(HALF_CLOSED_GRACE).await;
        });
        let mut half_closed_for_long = false;
        let mut closing = false;
        loop {
            // Bytes that arrive bring the time forward, at most to one header timeout after them: checking as often
            // notices it.
            let next_check = match state.close_at(&self.timeouts) {
                _ if closing => Instant::now() + CLOSE_TIMEOUT,
                Some(at) => at.min(Instant::now() + self.timeouts.header),
                None => Instant::now() + self.timeouts.header,
            };
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        self.log_failure(&*error);
                    }
                    return;
                }
                () = shutdown.as_mut(), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = half_closed.as_mut(), if !half_closed_for_long => {
                    half_closed_for_long = true;
                    if state.is_reading_data() {
                        return;
                    }
                }
                () = sleep_until(next_check) => match state.close_at(&self.timeouts) {
                    Some(_) if closing => return,
                    Some(at) if at <= Instant::now() => {
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    _ => {}
                }
            }
        }
    }

    /// A parse error was answered by hyper with a bare 400 or 431; any other error means that the connection broke. At
    /// the level debug, as any client can cause thousands.
    fn log_failure(&self, error: &(dyn std::error::Error + 'static)) {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            self.malformed_requests.inc();
            tracing::debug!(%error, "malformed request");
        } else {
            tracing::debug!(%error, "connection failed");
        }
    }
}

/// HTTP/1.1 and HTTP/2, whichever the client begins with.
pub(super) fn protocol() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // The connection's state has the header timeout, also before hyper knows the version.
        .header_read_timeout(None)
        // A client that has ended its sending side gets its answer, see `ClientStream`.
        .half_close(true)
        .max_buf_size(MAX_HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
