//! A sliding window for each client, of those whose calls count now.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::{Decision, SlidingWindow, WINDOW};
use crate::client::client_network;

/// Clients, at most 50 MB of them with a limit of 60; the least recent is evicted first.
const CAPACITY: u64 = 20_000;

type Window = Arc<Mutex<SlidingWindow>>;

/// Limits the calls of one client to one `T`. Clients are told apart by network ([`client_network`]); requests without a
/// connection, as in tests, are one client.
pub(crate) struct ClientWindows<T: Hash + Eq + Send + Sync + 'static>(Cache<(T, Option<IpAddr>), Window>);

impl<T: Hash + Eq + Send + Sync + 'static> Default for ClientWindows<T> {
    fn default() -> Self {
        let windows = Cache::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(WINDOW)
            .build();
        Self(windows)
    }
}

impl<T: Hash + Eq + Send + Sync + 'static> ClientWindows<T> {
    /// Admits and counts a call unless `limit` calls count already.
    pub(crate) fn admit(&self, called: T, client_ip: Option<IpAddr>, limit: u32, now: Instant) -> Decision {
        lock(&self.window(called, client_ip)).admit(limit, now)
    }

    /// What [`admit`](Self::admit) would decide, if that is to reject.
    pub(crate) fn rejection(
        &self,
        called: T,
        client_ip: Option<IpAddr>,
        limit: u32,
        now: Instant,
    ) -> Option<Decision> {
        let window = self.window(called, client_ip);
        let mut window = lock(&window);
        (window.calls(now) >= limit).then(|| window.admit(limit, now))
    }

    fn window(&self, called: T, client_ip: Option<IpAddr>) -> Window {
        self.0.get_with((called, client_ip.map(client_network)), Arc::default)
    }
}

fn lock(window: &Mutex<SlidingWindow>) -> MutexGuard<'_, SlidingWindow> {
    // No method of a window panics halfway.
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn each_client_has_a_limit_for_each_that_it_calls() {
        let (windows, now) = (ClientWindows::default(), Instant::now());
        let admits = |called, client_ip| windows.admit(called, client_ip, 1, now).admitted;
        assert!(admits(1, ip("2001:db8::1")));
        assert!(!admits(1, ip("2001:db8::ffff:2")), "a network is one client");
        assert!(admits(2, ip("2001:db8::1")));
        assert!(admits(1, ip("2001:db8:0:1::1")));
        assert!(admits(1, ip("192.0.2.1")));
        assert!(admits(1, None));
        assert!(!admits(1, None));
    }

    #[test]
    fn a_look_does_not_count() {
        let (windows, now) = (ClientWindows::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(windows.rejection(1, None, 1, now), None);
        }
        assert!(windows.admit(1, None, 1, now).admitted);
        assert_eq!(windows.rejection(1, None, 1, now).unwrap().reset, WINDOW);
        assert_eq!(windows.rejection(1, None, 1, now + WINDOW), None);
    }

    #[test]
    fn many_clients_take_bounded_memory() {
        let windows = ClientWindows::default();
        for number in 0..30_000_u32 {
            windows.admit(1, Some(IpAddr::V4(number.into())), 60, Instant::now());
        }
        windows.0.run_pending_tasks();
        assert_eq!(windows.0.entry_count(), CAPACITY);
    }
}
