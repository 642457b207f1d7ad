//! How servers divide a limit: each holds a lease on a part of it, its quota, and admits no more calls than that.
//!
//! A server may at any time release what it has not used and lease what is free. Servers exchange leases one at a time;
//! then all of them together never admit more than the limit within any [`WINDOW`](super::WINDOW). The reason: a quota is
//! never less than the calls that count, so what a server releases was not used within the last window.

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct QuotaLease {
    /// Calls of the current window.
    pub(crate) calls: u32,
    /// Calls that may be admitted within a window; never less than `calls`.
    pub(crate) quota: u32,
    /// Recent calls, admitted or not: the weight with which this server gets a part of what is unused. 0 for a server that
    /// has stopped.
    pub(crate) demand: u32,
}

impl QuotaLease {
    /// The lease of a server that has stopped: its calls count until they leave the window, the rest is free.
    pub(crate) fn expired(self) -> Self {
        Self { quota: self.calls, demand: 0, ..self }
    }
}

/// Computes the quota of a server with these calls and this demand: its own calls, plus the part of the unused limit that
/// corresponds to its demand, as far as the quotas of the other servers leave that free.
pub(crate) fn quota(limit: u32, calls: u32, demand: u32, others: &[QuotaLease]) -> u32 {
    let sum = |of: fn(&QuotaLease) -> u32| others.iter().map(|other| u64::from(of(other))).sum::<u64>();
    let [limit, calls, demand] = [limit, calls, demand].map(u64::from);
    let unused = limit.saturating_sub(calls + sum(|other| other.calls));
    let part = (unused * demand).div_ceil((demand + sum(|other| other.demand)).max(1));
    let free = limit.saturating_sub(sum(|other| other.quota));
    let quota = (calls + part).min(free).max(calls);
    u32::try_from(quota).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::{Duration, Instant};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::rate_limit::{SlidingWindow, WINDOW};

    #[derive(Default)]
    struct Server {
        window: SlidingWindow,
        lease: QuotaLease,
        calls_since_exchange: u32,
    }

    impl Server {
        fn exchange(servers: &mut [Self], own: usize, limit: u32, now: Instant) {
            let others: Vec<_> =
                servers.iter().enumerate().filter(|(i, _)| *i != own).map(|(_, other)| other.lease).collect();
            let server = &mut servers[own];
            let calls = server.window.calls(now);
            let demand = 1 + std::mem::take(&mut server.calls_since_exchange).max(server.lease.demand / 2);
            server.lease = QuotaLease { calls, quota: quota(limit, calls, demand, &others), demand };
        }

        fn call(&mut self, now: Instant) -> bool {
            self.calls_since_exchange += 1;
            self.window.admit(self.lease.quota, now).admitted
        }
    }

    #[derive(Debug, Clone)]
    enum Event {
        Calls { server: usize, calls: usize },
        Exchange { server: usize },
        Wait { milliseconds: u64 },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..3_usize, 1..30_usize).prop_map(|(server, calls)| Event::Calls { server, calls }),
            (0..3_usize).prop_map(|server| Event::Exchange { server }),
            prop_oneof![0..500_u64, 0..20_000_u64].prop_map(|milliseconds| Event::Wait { milliseconds }),
        ]
    }

    proptest! {
        /// For any distribution of calls and any times of exchange.
        #[test]
        fn all_servers_together_keep_the_limit(limit in 1..60_u32, events in vec(event(), 1..300)) {
            let mut servers: [Server; 3] = Default::default();
            let mut admitted: VecDeque<Instant> = VecDeque::new();
            let mut now = Instant::now();
            for event in events {
                match event {
                    Event::Calls { server, calls } => {
                        admitted.extend((0..calls).filter(|_| servers[server].call(now)).map(|_| now));
                        admitted.retain(|at| now - *at < WINDOW);
                        prop_assert!(admitted.len() <= limit as usize, "{} of {limit}", admitted.len());
                    }
                    Event::Exchange { server } => Server::exchange(&mut servers, server, limit, now),
                    Event::Wait { milliseconds } => now += Duration::from_millis(milliseconds),
                }
            }
        }

        /// For any distribution of calls, more than 90 % of the limit are admitted within two seconds of exchanges, four a
        /// second.
        #[test]
        fn little_is_left_unused(limit in 20..2000_u32, spread in vec(0..1000_usize, 3)) {
            prop_assume!(spread.iter().any(|calls| *calls > 0));
            let mut servers: [Server; 3] = Default::default();
            let mut now = Instant::now();
            let mut admitted = 0;
            let most = *spread.iter().max().unwrap_or(&1);
            for _ in 0..8 {
                for (server, part) in spread.iter().enumerate() {
                    Server::exchange(&mut servers, server, limit, now);
                    // As many as the busiest server needs to use up the limit by itself.
                    let calls = part * limit as usize / most;
                    admitted += (0..calls).filter(|_| servers[server].call(now)).count();
                }
                now += Duration::from_millis(250);
            }
            prop_assert!(admitted >= limit as usize * 9 / 10, "{admitted} of {limit}");
            prop_assert!(admitted <= limit as usize);
        }
    }

    #[test]
    fn a_sole_server_holds_the_whole_limit() {
        assert_eq!(quota(10, 0, 1, &[]), 10);
        assert_eq!(quota(10, 7, 100, &[]), 10);
        let other = QuotaLease { calls: 3, quota: 10, demand: 5 };
        assert_eq!(quota(10, 0, 1, &[other]), 0);
        assert_eq!(quota(10, 0, 1, &[other.expired()]), 7);
    }

    #[test]
    fn a_lowered_limit_does_not_revoke_used_calls() {
        assert_eq!(quota(5, 8, 1, &[]), 8);
    }
}
