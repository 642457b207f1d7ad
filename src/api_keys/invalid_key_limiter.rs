//! Limits how many invalid API keys a client may try within a minute.
//!
//! Keys have 166 bits of entropy, so the limit protects no key; it tells a client that tries many to stop. Clients are told apart
//! by network ([`client_network`]), and many people may share one: so a key that is tried again does not count again, and a valid
//! key is never rejected.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::client::client_network;
use crate::rate_limit::WINDOW;

/// Clients whose attempts are counted, at most 50 MB of them with the default limit; the least recent is evicted first.
const CAPACITY: u64 = 20_000;

pub(super) struct InvalidKeyLimiter {
    limit: u32,
    hasher: RandomState,
    /// Requests without a connection, as in tests, share the entry `None`.
    attempts: Cache<Option<IpAddr>, Arc<Mutex<Attempts>>>,
}

/// The different keys of one client, as fingerprints.
#[derive(Default)]
struct Attempts {
    /// Oldest first.
    times: VecDeque<(Instant, u64)>,
    keys: HashSet<u64>,
}

impl InvalidKeyLimiter {
    pub(super) fn new(limit_per_minute: u32) -> Self {
        let attempts = Cache::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(WINDOW)
            .build();
        Self { limit: limit_per_minute, hasher: RandomState::new(), attempts }
    }

    /// Counts an invalid key. The error, the time until the next attempt, replaces the answer that the key is invalid, so
    /// that no more than the limit of those are given.
    pub(super) fn count(&self, client_ip: Option<IpAddr>, key: &str, now: Instant) -> Result<(), Duration> {
        let attempts = self.attempts.get_with(client_ip.map(client_network), Arc::default);
        // A panic cannot leave more in one field than in the other but for one key.
        let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.count(self.hasher.hash_one(key), self.limit, now)
    }
}

impl Attempts {
    fn count(&mut self, key: u64, limit: u32, now: Instant) -> Result<(), Duration> {
        while let Some((_, expired)) = self.times.pop_front_if(|(at, _)| *at + WINDOW <= now) {
            self.keys.remove(&expired);
        }
        if self.keys.contains(&key) {
            return Ok(());
        }
        match self.times.front() {
            Some((oldest, _)) if self.times.len() >= limit as usize => {
                Err((*oldest + WINDOW).saturating_duration_since(now))
            }
            _ => {
                self.times.push_back((now, key));
                self.keys.insert(key);
                Ok(())
            }
        }
    }
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
        let keys = std::cell::Cell::new(0);
        let rejects = |client_ip| {
            keys.set(keys.get() + 1);
            limiter.count(client_ip, &keys.get().to_string(), now).is_err()
        };
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
    fn a_repeated_key_counts_once() {
        let limiter = InvalidKeyLimiter::new(2);
        let now = Instant::now();
        let count = |key, seconds| limiter.count(None, key, now + Duration::from_secs(seconds));
        for _ in 0..100 {
            assert!(count("one", 0).is_ok());
        }
        assert!(count("two", 20).is_ok());
        assert_eq!(count("three", 20), Err(Duration::from_secs(40)));
        assert!(count("one", 59).is_ok());
        assert!(count("three", 60).is_ok(), "the first attempt has left the window");
        assert_eq!(count("one", 60), Err(Duration::from_secs(20)));
    }

    #[test]
    fn attempts_take_bounded_memory() {
        let limiter = InvalidKeyLimiter::new(60);
        for number in 0..30_000_u32 {
            let _ = limiter.count(Some(IpAddr::V4(number.into())), "", Instant::now());
            let _ = limiter.count(None, &number.to_string(), Instant::now());
        }
        limiter.attempts.run_pending_tasks();
        assert_eq!(limiter.attempts.entry_count(), CAPACITY);
        let attempts = limiter.attempts.get(&None).unwrap();
        assert_eq!(attempts.lock().unwrap().keys.len(), 60);
    }
}
