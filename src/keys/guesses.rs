//! Keys that do not exist, and who tries them.
//!
//! Guessing a key is hopeless, 166 bits; this makes it cheap for us: whoever has tried too many is refused without asking
//! the database.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::rate_limit::{WINDOW, Window};

/// Clients whose guesses are counted; those who have not guessed for longest are forgotten first. With the default limit
/// this is never more than 50 MB.
const CAPACITY: u64 = 20_000;

/// The guesses of the last minute, by client.
#[derive(Clone)]
pub(super) struct Guesses {
    limit: u32,
    clients: Cache<Option<IpAddr>, Arc<Mutex<Window>>>,
}

/// A key that is being looked up. It counts as a guess unless it is [taken back](Self::take_back).
pub(super) struct Guess {
    window: Arc<Mutex<Window>>,
    at: Instant,
}

impl Guesses {
    /// Lets each client make this many guesses within any minute.
    pub(super) fn new(limit: u32) -> Self {
        let clients = Cache::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(WINDOW)
            .build();
        Self { limit, clients }
    }

    /// Counts a guess of this client; requests that came over no connection are all of one. It is counted before its
    /// outcome is known, so that many at once are not more than the limit either.
    ///
    /// # Errors
    ///
    /// The client has made too many; how long until it may make the next.
    pub(super) fn begin(&self, client: Option<IpAddr>, at: Instant) -> Result<Guess, Duration> {
        let window = self.clients.get_with(client.map(network), Arc::default);
        let allowance = lock(&window).admit(self.limit, at);
        if allowance.admitted { Ok(Guess { window, at }) } else { Err(allowance.reset) }
    }
}

impl Guess {
    /// The key exists, or nobody knows.
    pub(super) fn take_back(self) {
        lock(&self.window).take_back(self.at);
    }
}

fn lock(window: &Mutex<Window>) -> MutexGuard<'_, Window> {
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
        let guesses = Guesses::new(1);
        let now = Instant::now();
        let refused = |client| guesses.begin(client, now).is_err();
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
        let guesses = Guesses::new(2);
        let now = Instant::now();
        let first = guesses.begin(None, now).ok().unwrap();
        let _second = guesses.begin(None, now + Duration::from_secs(1)).ok().unwrap();
        assert!(guesses.begin(None, now + Duration::from_secs(1)).is_err());
        first.take_back();
        assert!(guesses.begin(None, now + Duration::from_secs(1)).is_ok());
        assert!(guesses.begin(None, now + Duration::from_secs(60)).is_err());
        assert!(guesses.begin(None, now + Duration::from_secs(61)).is_ok());
    }

    #[test]
    fn whoever_guesses_from_everywhere_takes_little_memory() {
        let guesses = Guesses::new(60);
        for number in 0..30_000_u32 {
            let _ = guesses.begin(Some(IpAddr::V4(number.into())), Instant::now());
        }
        guesses.clients.run_pending_tasks();
        assert_eq!(guesses.clients.entry_count(), CAPACITY);
    }
}
