//! Connections: accepted, counted, and drained when the server stops.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use prometheus_client::metrics::gauge::Gauge;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client_address::Peer;
use super::tls::Certificate;
use super::{connection, tls};
use crate::config::{Config, Limits, TrustedProxies};
use crate::metrics::{ConnectionLimit, ConnectionMetrics};
use crate::rate_limit::client_network;

/// A pause after an accept that failed, for want of file descriptors as a rule.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);
/// Between two lines of the log about connections that are refused, or that cannot be accepted.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// File descriptors for everything but clients.
const OTHER_FILES: u64 = 256;

/// Serves HTTP, or HTTPS with a certificate, until `shutdown` is cancelled, then answers what is under way or on its way,
/// within the shutdown timeout.
pub async fn serve(
    listener: TcpListener,
    certificate: Option<Certificate>,
    router: Router,
    config: &Config,
    counters: ConnectionMetrics,
    shutdown: CancellationToken,
) {
    let places = Places {
        taken: Arc::default(),
        limits: config.limits,
        proxies: config.trusted_proxies.clone(),
        open: counters.open.clone(),
    };
    let (mut failures, mut refusals) = (Seldom::default(), Seldom::default());
    let protocol = connection::protocol();
    let connections = TaskTracker::new();
    while let Some(accepted) = shutdown.run_until_cancelled(accept(&listener)).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                counters.accept_errors.inc();
                if let Some(times) = failures.happens(Instant::now()) {
                    tracing::warn!(%error, times, "connections cannot be accepted");
                }
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
                continue;
            }
        };
        let place = match places.take(peer) {
            Ok(place) => place,
            Err(limit) => {
                counters.rejected(limit);
                if let Some(times) = refusals.happens(Instant::now()) {
                    tracing::warn!(limit = limit.flag(), client = %peer, times, "connections too many were closed");
                }
                continue;
            }
        };
        let tls = certificate.as_ref().map(|certificate| Arc::clone(&certificate.borrow()));
        let peer = Peer { address: peer, tls: tls.is_some() };
        let (protocol, router, timeouts) = (protocol.clone(), router.clone(), config.timeouts);
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            if let Some(stream) = tls::accept(stream, tls, timeouts.header, &shutdown).await {
                connection::serve(stream, peer, protocol, router, timeouts, shutdown).await;
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(config.timeouts.shutdown, connections.wait()).await.is_err() {
        tracing::warn!("requests were still under way at the end of the drain");
    }
}

async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, IpAddr)> {
    let (stream, peer) = listener.accept().await?;
    // It fails on a connection that has ended already, which will be noticed.
    let _ = stream.set_nodelay(true);
    Ok((stream, peer.ip().to_canonical()))
}

/// Allows as many files as the system lets us have: each connection is one, and most systems allow 1,024 of them to who does
/// not ask for more.
pub fn allow_files(limits: Limits) {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    let wanted = u64::from(limits.connections) + OTHER_FILES;
    if setrlimit(Resource::Nofile, files).is_err() || files.maximum.is_some_and(|most| most < wanted) {
        tracing::warn!(
            wanted,
            allowed = files.maximum,
            "the limit of open files is lower than --max-connections"
        );
    }
}

/// Something that may happen thousands of times a second, and is worth a line of the log now and then.
#[derive(Default)]
struct Seldom {
    said: Option<Instant>,
    times: u64,
}

impl Seldom {
    /// How often it has happened since that was last said, if it is to be said: at once, then after [`SAY_EVERY`].
    fn happens(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        let said_lately = self.said.is_some_and(|at| now.saturating_duration_since(at) < SAY_EVERY);
        if said_lately {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

/// Who is connected.
struct Places {
    taken: Arc<Mutex<Taken>>,
    limits: Limits,
    proxies: TrustedProxies,
    open: Gauge,
}

#[derive(Default)]
struct Taken {
    all: u32,
    by_client: HashMap<IpAddr, u32>,
}

/// A connection's place, given up when dropped.
struct Place {
    taken: Arc<Mutex<Taken>>,
    client: IpAddr,
    open: Gauge,
}

impl Places {
    /// The error is the limit that is reached.
    fn take(&self, peer: IpAddr) -> Result<Place, ConnectionLimit> {
        let client = client_network(peer);
        let mut taken = lock(&self.taken);
        if taken.all >= self.limits.connections {
            return Err(ConnectionLimit::Total);
        }
        let of_client = taken.by_client.get(&client).copied().unwrap_or_default();
        if of_client >= self.limits.connections_per_client_ip() && !self.proxies.contain(peer) {
            return Err(ConnectionLimit::PerClientIp);
        }
        taken.all += 1;
        *taken.by_client.entry(client).or_default() += 1;
        self.open.inc();
        Ok(Place { taken: Arc::clone(&self.taken), client, open: self.open.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
        let mut taken = lock(&self.taken);
        taken.all -= 1;
        if let Some(of_client) = taken.by_client.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    // The counts are right whatever panicked: nothing between two of them does.
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_seldom() {
        let mut seldom = Seldom::default();
        let start = Instant::now();
        let said: Vec<_> = (0..300).map(|tenth| seldom.happens(start + SAY_EVERY * tenth / 100)).collect();
        assert_eq!(said.iter().flatten().collect::<Vec<_>>(), [&1, &100, &100]);
        assert_eq!(said[100], Some(100));
    }
}
