//! How many connections may be open, in all and from one client. A connection above a limit is closed before anything
//! is read from it, so it costs an accept and no memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;

use crate::config::{Config, Limits, TrustedProxies};
use crate::keys::network;
use crate::metrics::ConnectionLimit;

pub(super) struct ConnectionLimiter {
    open: Arc<Mutex<Open>>,
    limits: Limits,
    /// Have no limit of their own: they carry the connections of many clients.
    proxies: TrustedProxies,
    gauge: Gauge,
}

#[derive(Default)]
struct Open {
    all: u32,
    by_client: HashMap<IpAddr, u32>,
}

/// One connection; released when dropped.
pub(super) struct ConnectionPermit {
    open: Arc<Mutex<Open>>,
    client: IpAddr,
    gauge: Gauge,
}

impl ConnectionLimiter {
    pub(super) fn new(config: &Config, gauge: Gauge) -> Self {
        let proxies = config.trusted_proxies.clone();
        Self { open: Arc::default(), limits: config.limits, proxies, gauge }
    }

    /// # Errors
    ///
    /// The limit that is reached.
    pub(super) fn acquire(&self, peer: IpAddr) -> Result<ConnectionPermit, ConnectionLimit> {
        let client = network(peer);
        let mut open = lock(&self.open);
        if open.all >= self.limits.connections {
            return Err(ConnectionLimit::All);
        }
        let of_client = open.by_client.get(&client).copied().unwrap_or_default();
        if of_client >= self.limits.connections_per_address() && !self.proxies.contain(peer) {
            return Err(ConnectionLimit::Address);
        }
        open.all += 1;
        *open.by_client.entry(client).or_default() += 1;
        self.gauge.inc();
        Ok(ConnectionPermit { open: Arc::clone(&self.open), client, gauge: self.gauge.clone() })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.gauge.dec();
        let mut open = lock(&self.open);
        open.all -= 1;
        if let Some(of_client) = open.by_client.get_mut(&self.client) {
            *of_client -= 1;
            // The map holds clients with open connections only, so its size is bounded by the limit.
            if *of_client == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    // The counts stay right after a panic elsewhere: nothing panics between two of them.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
