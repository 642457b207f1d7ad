//! Keys that do not exist, and who tries them.
//!
//! Guessing a key is hopeless, 166 bits; this makes it cheap for us: whoever has tried too many is refused without asking
//! the database.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::rate_limit::{SlidingWindow, WINDOW};

/// Clients whose invalid_keys are counted; those who have not guessed for longest are forgotten first. With the default limit
/// this is never more than 50 MB.
const CAPACITY: u64 = 20_000;

/// The invalid_keys of the last minute, by client.
#[derive(Clone)]
pub(super) struct InvalidKeyLimiter {
    limit: u32,
    clients: Cache<Option<IpAddr>, Arc<Mutex<SlidingWindow>>>,
}

impl InvalidKeyLimiter {
    /// Lets each client make this many invalid_keys within any minute.
    pub(super) fn new(limit: u32) -> Self {
        let clients = Cache::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(WINDOW)
            .build();
        Self { limit, clients }
    }

    /// Whether this client may ask for a key that is not known; requests that came over no connection are all of one.
    ///
    /// # Errors
    ///
    /// It has guessed too often; how long until it may guess again.
    pub(super) fn check(&self, client: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let window = self.of(client);
        let mut window = lock(&window);
        if window.calls(now) < self.limit { Ok(()) } else { Err(window.admit(self.limit, now).reset) }
    }

    /// Counts a key that turned out not to exist. Good keys of which many are asked for at once, as after a start, count
    /// for nothing, so what is being looked up does not count yet; how many guess at once, no more than the limit are
    /// told.
    ///
    /// # Errors
    ///
    /// The client has guessed too often meanwhile; how long until it may guess again.
    pub(super) fn count(&self, client: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let allowance = lock(&self.of(client)).admit(self.limit, now);
        if allowance.admitted { Ok(()) } else { Err(allowance.reset) }
    }

    fn of(&self, client: Option<IpAddr>) -> Arc<Mutex<SlidingWindow>> {
        self.clients.get_with(client.map(network), Arc::default)
    }
}

fn lock(window: &Mutex<SlidingWindow>) -> MutexGuard<'_, SlidingWindow> {
    // Nothing in a window leaves it half changed.
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whom an address belongs to: a subscriber has a whole /64 of IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_network_is_one_client() {
        let invalid_keys = InvalidKeyLimiter::new(1);
        let now = Instant::now();
        let refused = |client| invalid_keys.count(client, now).is_err();
        assert!(!refused(address("2001:db8::1")));
        assert!(refused(address("2001:db8::ffff:2")));
        assert!(!refused(address("2001:db8:0:1::1")));
        assert!(!refused(address("192.0.2.1")));
        assert!(!refused(address("192.0.2.2")));
        assert!(refused(address("192.0.2.1")));
        assert!(!refused(None));
        assert!(refused(None));
    }

    #[test]
    fn what_was_no_guess_does_not_count() {
        let invalid_keys = InvalidKeyLimiter::new(1);
        let now = Instant::now();
        for _ in 0..100 {
            assert!(invalid_keys.check(None, now).is_ok());
        }
        assert!(invalid_keys.count(None, now).is_ok());
        assert_eq!(invalid_keys.check(None, now), Err(WINDOW));
        assert_eq!(invalid_keys.count(None, now + Duration::from_secs(59)), Err(Duration::from_secs(1)));
        assert!(invalid_keys.check(None, now + WINDOW).is_ok());
    }

    #[test]
    fn whoever_guesses_from_everywhere_takes_little_memory() {
        let invalid_keys = InvalidKeyLimiter::new(60);
        for number in 0..30_000_u32 {
            let _ = invalid_keys.count(Some(IpAddr::V4(number.into())), Instant::now());
        }
        invalid_keys.clients.run_pending_tasks();
        assert_eq!(invalid_keys.clients.entry_count(), CAPACITY);
    }
}
