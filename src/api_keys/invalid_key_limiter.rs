//! Limits how many invalid API keys a client may try within a minute.
//!
//! Keys have 166 bits of entropy, so the limit protects no key; it only spares database lookups. Clients are told apart by
//! network ([`client_network`]). A check comes before the lookup and a count after it: valid keys that are looked up
//! concurrently, as after a start, count for nothing.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::client::client_network;
use crate::rate_limit::{SlidingWindow, WINDOW};

/// Clients whose attempts are counted, at most 50 MB of them with the default limit; the least recent is evicted first.
const CAPACITY: u64 = 20_000;

#[derive(Clone)]
pub(super) struct InvalidKeyLimiter {
    limit: u32,
    /// Requests without a connection, as in tests, share the entry `None`.
    attempts: Cache<Option<IpAddr>, Arc<Mutex<SlidingWindow>>>,
}

impl InvalidKeyLimiter {
    pub(super) fn new(limit_per_minute: u32) -> Self {
        let attempts = Cache::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(WINDOW)
            .build();
        Self { limit: limit_per_minute, attempts }
    }

    /// Whether this client may look up a key. The error is the time until it may.
    pub(super) fn check(&self, client_ip: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let window = self.window(client_ip);
        let mut window = lock(&window);
        if window.calls(now) < self.limit { Ok(()) } else { Err(window.admit(self.limit, now).reset) }
    }

    /// Counts an invalid key. The error, the time until the next attempt, replaces the answer that the key is invalid, so
    /// that no more than the limit of those are given to concurrent attempts.
    pub(super) fn count(&self, client_ip: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let decision = lock(&self.window(client_ip)).admit(self.limit, now);
        if decision.admitted { Ok(()) } else { Err(decision.reset) }
    }

    fn window(&self, client_ip: Option<IpAddr>) -> Arc<Mutex<SlidingWindow>> {
        self.attempts.get_with(client_ip.map(client_network), Arc::default)
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
    fn a_network_is_one_client() {
        let limiter = InvalidKeyLimiter::new(1);
        let now = Instant::now();
        let rejects = |client_ip| limiter.count(client_ip, now).is_err();
        assert!(!rejects(ip("2001:db8::1")));
        assert!(rejects(ip("2001:db8::ffff:2")));
        assert!(!rejects(ip("2001:db8:0:1::1")));
        assert!(!rejects(ip("192.0.2.1")));
        assert!(!rejects(ip("192.0.2.2")));
        assert!(rejects(ip("192.0.2.1")));
        assert!(!rejects(None));
        assert!(rejects(None));
    }

    #[test]
    fn checks_do_not_count() {
        let limiter = InvalidKeyLimiter::new(1);
        let now = Instant::now();
        for _ in 0..100 {
            assert!(limiter.check(None, now).is_ok());
        }
        assert!(limiter.count(None, now).is_ok());
        assert_eq!(limiter.check(None, now), Err(WINDOW));
        assert_eq!(limiter.count(None, now + Duration::from_secs(59)), Err(Duration::from_secs(1)));
        assert!(limiter.check(None, now + WINDOW).is_ok());
    }

    #[test]
    fn attempts_from_many_networks_take_bounded_memory() {
        let limiter = InvalidKeyLimiter::new(60);
        for number in 0..30_000_u32 {
            let _ = limiter.count(Some(IpAddr::V4(number.into())), Instant::now());
        }
        limiter.attempts.run_pending_tasks();
        assert_eq!(limiter.attempts.entry_count(), CAPACITY);
    }
}
