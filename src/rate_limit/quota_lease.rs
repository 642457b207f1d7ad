//! A limit that several servers keep together: each holds a quota of it and lets in no more than that.
//!
//! A server may at any time give up what it has not used, and take what nobody holds. However that is done, one server
//! after the other, all of them together never let in more than the limit within any [`WINDOW`](super::WINDOW): a quota
//! is never less than the calls that count, so what has been given up was not used within the last window.

/// What one server holds of a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaLease {
    /// The calls that count now.
    pub calls: u32,
    /// At most this many may; not less than `calls`.
    pub quota: u32,
    /// Calls that came lately, let in or not: how much of what is unused is wanted here. 0 for a server that has gone.
    pub demand: u32,
}

impl QuotaLease {
    /// What is left of a server that has gone: its calls count as long as they would have.
    pub fn abandoned(self) -> Self {
        Self { quota: self.calls, demand: 0, ..self }
    }
}

/// The quota for a server with these calls and this demand: what it has used, and as much of what nobody has used as its
/// part of the demand. What others hold is theirs until they give it up.
pub fn quota(limit: u32, calls: u32, demand: u32, others: &[QuotaLease]) -> u32 {
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
        holding: QuotaLease,
        wanted: u32,
    }

    impl Server {
        fn exchange(servers: &mut [Self], own: usize, limit: u32, now: Instant) {
            let others: Vec<_> = servers
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != own)
                .map(|(_, other)| other.holding)
                .collect();
            let server = &mut servers[own];
            let calls = server.window.calls(now);
            let demand = 1 + std::mem::take(&mut server.wanted).max(server.holding.demand / 2);
            server.holding = QuotaLease { calls, quota: quota(limit, calls, demand, &others), demand };
        }

        fn call(&mut self, now: Instant) -> bool {
            self.wanted += 1;
            self.window.admit(self.holding.quota, now).admitted
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
        /// Whoever calls where, and whenever the servers exchange.
        #[test]
        fn together_they_keep_the_limit(limit in 1..60_u32, events in vec(event(), 1..300)) {
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

        /// However unevenly the calls are spread: more than nine tenths of the limit are let in within two seconds of
        /// exchanges, four a second.
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
    fn one_server_holds_it_all() {
        assert_eq!(quota(10, 0, 1, &[]), 10);
        assert_eq!(quota(10, 7, 100, &[]), 10);
        let gone = QuotaLease { calls: 3, quota: 10, demand: 5 };
        assert_eq!(quota(10, 0, 1, &[gone]), 0);
        assert_eq!(quota(10, 0, 1, &[gone.abandoned()]), 7);
    }

    #[test]
    fn a_lowered_limit_takes_nothing_that_is_used() {
        assert_eq!(quota(5, 8, 1, &[]), 8);
    }
}
