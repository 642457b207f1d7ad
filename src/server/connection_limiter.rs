//! How many connections may be open, in all and from one client. A connection above a limit is closed before anything
//! is read from it, so it costs an accept and no memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;

use crate::client::client_network;
use crate::config::{Config, Limits, TrustedProxies};
use crate::metrics::ConnectionLimit;

pub(super) struct ConnectionLimiter {
    limits: Limits,
    /// Have no limit of their own: they carry the connections of many clients.
    proxies: TrustedProxies,
    open: Mutex<Open>,
    gauge: Gauge,
}

#[derive(Default)]
struct Open {
    all: u32,
    /// Only clients with open connections, so `all` bounds its size too.
    by_client: HashMap<IpAddr, u32>,
}

/// One connection; released when dropped.
pub(super) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    client: IpAddr,
}

impl ConnectionLimiter {
    pub(super) fn new(config: &Config, gauge: Gauge) -> Arc<Self> {
        let proxies = config.trusted_proxies.clone();
        Arc::new(Self { limits: config.limits, proxies, open: Mutex::default(), gauge })
    }

    /// # Errors
    ///
    /// The limit that is reached.
    pub(super) fn acquire(self: &Arc<Self>, peer: IpAddr) -> Result<ConnectionPermit, ConnectionLimit> {
        let client = client_network(peer);
        let mut open = self.lock();
        if open.all >= self.limits.connections {
            return Err(ConnectionLimit::Total);
        }
        let of_client = open.by_client.get(&client).copied().unwrap_or_default();
        if of_client >= self.limits.connections_per_client_ip() && !self.proxies.contain(peer) {
            return Err(ConnectionLimit::PerClientIp);
        }
        open.all += 1;
        open.by_client.insert(client, of_client + 1);
        self.gauge.inc();
        Ok(ConnectionPermit { limiter: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // The counts stay right after a panic elsewhere: nothing panics between two of them.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.gauge.dec();
        let mut open = self.limiter.lock();
        open.all -= 1;
        if let Some(of_client) = open.by_client.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}
