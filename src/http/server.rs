//! Connections: accepted, counted, and drained when the server stops.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client_address::Peer;
use super::tls::Certificate;
use super::{connection, tls};
use crate::config::{Config, Limits, TrustedProxies};
use crate::keys::network;

/// A pause after an accept that failed, for want of file descriptors as a rule.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);
/// File descriptors for everything but clients.
const OTHER_FILES: u64 = 256;

/// Serves HTTP, or HTTPS with a certificate, until `shutdown` is cancelled, then answers what is under way or on its way,
/// within the shutdown timeout.
pub async fn serve(
    listener: TcpListener,
    certificate: Option<Certificate>,
    router: Router,
    config: &Config,
    shutdown: CancellationToken,
) {
    allow_files(config.limits);
    let places =
        Places { taken: Arc::default(), limits: config.limits, proxies: config.trusted_proxies.clone() };
    let protocol = connection::protocol();
    let connections = TaskTracker::new();
    while let Some(accepted) = shutdown.run_until_cancelled(accept(&listener)).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
                continue;
            }
        };
        let Some(place) = places.take(peer) else {
            tracing::debug!("a connection too many was closed");
            continue;
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
    stream.set_nodelay(true)?;
    Ok((stream, peer.ip().to_canonical()))
}

/// Each connection is a file, and most systems allow 1,024 of them to who does not ask for more.
fn allow_files(limits: Limits) {
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

/// Who is connected.
struct Places {
    taken: Arc<Mutex<Taken>>,
    limits: Limits,
    proxies: TrustedProxies,
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
}

impl Places {
    /// `None`: all are taken, or all that one client may have.
    fn take(&self, peer: IpAddr) -> Option<Place> {
        let client = network(peer);
        let mut taken = lock(&self.taken);
        let full = |number: u32| number >= self.limits.connections_per_address && !self.proxies.contain(peer);
        if taken.all >= self.limits.connections || taken.by_client.get(&client).copied().is_some_and(full) {
            return None;
        }
        taken.all += 1;
        *taken.by_client.entry(client).or_default() += 1;
        Some(Place { taken: Arc::clone(&self.taken), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
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
