//! The connections of clients: accepted, limited, driven through hyper, drained at shutdown. Knows nothing of the API:
//! a request goes to the router that it is given, and the answer comes from there.
//!
//! [`serve`] is the accept loop. A [`ConnectionLimiter`] bounds the connections in all and by client; [`tls`] does the
//! handshake; [`connection`] serves the requests of one connection and closes it when it is idle or slow; [`response_body`]
//! knows when a response has been sent; [`lingering_close`] lets a client read the last answer. Bytes that are no HTTP request get hyper's own bare 400 or
//! 431: they are counted, and logged at the level debug.

mod client_stream;
mod connection;
mod connection_limiter;
mod connection_state;
mod lingering_close;
mod log_throttle;
mod open_files;
mod response_body;
mod tls;

pub(crate) use open_files::raise_open_file_limit;
pub use tls::Certificate;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::ConnectionDriver;
use self::connection_limiter::ConnectionLimiter;
use self::log_throttle::LogThrottle;
use crate::client::Peer;
use crate::config::Config;
use crate::metrics::ConnectionMetrics;

/// The pause after a failed accept. The usual cause is a lack of file descriptors, which lasts until a connection ends.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Serves HTTP, or HTTPS with a certificate, until `shutdown` is cancelled. Then no connection is accepted any more,
/// and those that are open have the shutdown timeout to get the answers of requests in flight.
pub async fn serve(
    listener: TcpListener,
    certificate: Option<Certificate>,
    router: Router,
    config: &Config,
    counters: ConnectionMetrics,
    shutdown: CancellationToken,
) {
    let limiter = ConnectionLimiter::new(config, counters.open.clone());
    let driver = ConnectionDriver {
        protocol: connection::protocol(),
        router,
        timeouts: config.timeouts,
        malformed_requests: counters.malformed_requests.clone(),
        shutdown: shutdown.clone(),
    };
    let (mut failure_log, mut limit_log) = (LogThrottle::default(), LogThrottle::default());
    let connections = TaskTracker::new();
    while let Some(accepted) = shutdown.run_until_cancelled(accept(&listener)).await {
        let (stream, ip) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                counters.accept_errors.inc();
                if let Some(times) = failure_log.record(Instant::now()) {
                    tracing::warn!(%error, times, "connections cannot be accepted");
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let permit = match limiter.acquire(ip) {
            Ok(permit) => permit,
            Err(limit) => {
                counters.rejected(limit);
                if let Some(times) = limit_log.record(Instant::now()) {
                    let client_ip = config.access_log.client_ip().then(|| tracing::field::display(ip));
                    tracing::warn!(limit = limit.flag(), client_ip, times, "connection limit reached");
                }
                continue;
            }
        };
        // A renewed certificate applies to connections that begin after it.
        let tls = certificate.as_ref().map(|certificate| Arc::clone(&certificate.borrow().server_config));
        let peer = Peer { ip, tls: tls.is_some() };
        let driver = driver.clone();
        connections.spawn(async move {
            if let Some(stream) = tls::accept(stream, tls, &driver).await {
                driver.drive(stream, peer).await;
            }
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(config.timeouts.shutdown, connections.wait()).await.is_err() {
        tracing::warn!("requests were still in flight at the shutdown timeout");
    }
}

async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, IpAddr)> {
    let (stream, peer) = listener.accept().await?;
    // Fails on a connection that has ended already; the first read notices that.
    let _ = stream.set_nodelay(true);
    Ok((stream, peer.ip().to_canonical()))
}
