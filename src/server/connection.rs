//! One connection: its requests, and when it is closed.
//!
//! A client may be slow with the headers of a request, may be idle between two, or may not read its answer. One rule ends
//! all of that, for both versions of HTTP and before either is known: a connection with no request under way is closed
//! after the header timeout when something of a request has been received or nothing was ever asked, else after the idle
//! timeout. What is slow while a request is under way has timeouts of its own.
//!
//! A client that is refused before it has sent all of its request may still be sending. A connection that is closed on what
//! nobody reads is reset, and the answer is lost; so what still comes is read for a while and thrown away.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::Peer;
use crate::config::Timeouts;
use crate::http::request_context::Slot;
use crate::http::unreadable::{self, Lent, Returned};

/// The line and the headers of a request; the longest of ours have a key, an identity id and a search term.
const MAX_HEADER_OCTETS: u32 = 32 * 1024;
/// Requests at the same time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 100;
/// Whether the other end of a connection of HTTP/2 is still there is asked so often, and the answer waited for so long.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// When the server stops, a request may be on its way on a connection that looks idle: so long it still gets an answer, which
/// is the connection's last. HTTP/2 says which requests it has taken, and needs no such time.
const LINGER: Duration = Duration::from_secs(1);
/// How long a connection that was asked to end may take to do so, and its client to read the last answer.
const GOODBYE: Duration = Duration::from_secs(5);

/// Left in the [`Slot`] of a request whose body is not read to its end. What is left of it cannot be told from a next request, so
/// the connection ends.
pub(crate) struct Unread;

/// Speaks HTTP/1.1 and HTTP/2, whichever a client begins with.
pub(crate) fn protocol() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MAX_HEADER_OCTETS as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_OCTETS)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1);
    builder
}

/// Serves the requests of a connection until either side ends it.
pub(crate) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    protocol: Builder<TokioExecutor>,
    router: Router,
    timeouts: Timeouts,
    shutdown: CancellationToken,
) {
    let activity = Activity::begin();
    let service = service_fn(|mut request: Request<Incoming>| {
        let version = request.version();
        let under_way = activity.request(version);
        request.extensions_mut().insert(peer);
        let unread = Slot::<Unread>::open(request.extensions_mut());
        let answer = router.clone().oneshot(request);
        let shutdown = shutdown.clone();
        async move {
            let Ok(mut answer) = answer.await;
            if version != Version::HTTP_2 {
                let unread = unread.get().is_some();
                if unread {
                    under_way.leaves_something_unread();
                }
                if unread || shutdown.is_cancelled() {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
            }
            drop(under_way);
            Ok::<_, Infallible>(answer)
        }
    });
    let received = activity.clone();
    let (io, mut returned) = Lent::new(io);
    let io = InspectReader::new(io, move |octets| received.received(octets));
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(io), service));
    let mut end = pin!(async {
        shutdown.cancelled().await;
        tokio::time::sleep(activity.linger()).await;
    });
    let mut leaving = false;
    loop {
        let now = Instant::now();
        let due = activity.due(&timeouts);
        let look_again = match due {
            _ if leaving => now + GOODBYE,
            // What it does may change before that.
            due => due.map_or(now + timeouts.header, |due| due.min(now + timeouts.header)),
        };
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection broke");
                }
                if let Ok(returned) = returned.try_recv() {
                    let parted = part(returned, activity.is_unread(), peer, router.clone());
                    let _ = timeout(GOODBYE, parted).await;
                }
                return;
            }
            () = end.as_mut(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(look_again) => match activity.due(&timeouts) {
                Some(_) if leaving => return,
                Some(due) if due <= Instant::now() => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ => {}
            }
        }
    }
}

/// Says what hyper has left to say, and ends the connection such that the client can read all of it.
async fn part(
    (mut stream, refusal): Returned<impl AsyncRead + AsyncWrite + Send + Unpin>,
    unread: bool,
    peer: Peer,
    router: Router,
) -> io::Result<()> {
    if let Some(status) = refusal {
        stream = unreadable::answer(stream, status, peer, router).await.map_err(io::Error::other)?;
    }
    stream.shutdown().await?;
    if unread || refusal.is_some() {
        copy(&mut stream, &mut sink()).await?;
    }
    Ok(())
}

/// What a connection is doing.
#[derive(Clone)]
struct Activity(Arc<Mutex<State>>);

struct State {
    /// Under way, that is with us and not yet answered.
    requests: u32,
    /// A request has begun to come, or none has been made yet.
    receiving: bool,
    /// Of HTTP/2, where other things than requests are received too.
    multiplexed: bool,
    /// The client may be sending something that nobody reads.
    unread: bool,
    /// When it began to do what it is doing.
    since: Instant,
}

/// A request that has not been answered yet.
struct UnderWay(Activity);

impl Activity {
    fn begin() -> Self {
        Self(Arc::new(Mutex::new(State {
            requests: 0,
            receiving: true,
            multiplexed: false,
            unread: false,
            since: Instant::now(),
        })))
    }

    fn received(&self, octets: &[u8]) {
        let mut state = self.state();
        if !octets.is_empty() && state.requests == 0 && !state.receiving && !state.multiplexed {
            state.receiving = true;
            state.since = Instant::now();
        }
    }

    fn request(&self, version: Version) -> UnderWay {
        let mut state = self.state();
        state.requests += 1;
        state.receiving = false;
        state.multiplexed = version == Version::HTTP_2;
        UnderWay(self.clone())
    }

    /// When to close the connection, as it looks now; `None` while a request is under way.
    fn due(&self, timeouts: &Timeouts) -> Option<Instant> {
        let state = self.state();
        let longest = if state.receiving { timeouts.header } else { timeouts.idle };
        (state.requests == 0).then(|| state.since + longest)
    }

    /// How long to wait for a request when the server stops.
    fn linger(&self) -> Duration {
        let state = self.state();
        if state.requests == 0 && !state.multiplexed { LINGER } else { Duration::ZERO }
    }

    fn is_unread(&self) -> bool {
        self.state().unread
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    fn leaves_something_unread(&self) {
        self.0.state().unread = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.requests -= 1;
        state.since = Instant::now();
    }
}
