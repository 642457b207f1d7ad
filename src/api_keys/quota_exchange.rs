//! The exchange of quota leases with other servers.
//!
//! Servers exchange one at a time, under a lock: each reads the leases of the others and then writes its own, so the quotas
//! never add up to more than a limit.
//!
//! No clock is shared. Another server counts as alive while this one sees its heartbeat change, and the times in between are
//! those of this process: so the limit also holds when the database's clock is set.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgConnection;

use super::CachedKey;
use crate::db::api_key_quota_lease::{self, LeaseRow, ServerRow};
use crate::rate_limit::{QuotaLease, WINDOW};

/// The lease of a server without a heartbeat for this long has expired: only its calls count. Eight refreshes.
const LEASE_TERM: Duration = Duration::from_secs(2);

pub(super) struct QuotaExchange {
    server_id: i64,
    registered: bool,
    /// The other servers, by id.
    others: HashMap<i64, OtherServer>,
    /// Keys that became idle and whose leases other servers still see.
    released: Vec<i64>,
}

struct OtherServer {
    heartbeat: String,
    running: bool,
    /// When this server first saw that heartbeat.
    since: Instant,
}

impl QuotaExchange {
    pub(super) fn new() -> Self {
        let (others, released) = (HashMap::new(), Vec::new());
        Self { server_id: rand::random(), registered: false, others, released }
    }

    /// Deletes the lease of a key with the next exchange.
    pub(super) fn release(&mut self, key: &CachedKey) {
        self.released.push(key.id);
    }

    /// Sends a heartbeat and renews the leases of `keys`.
    pub(super) async fn exchange(
        &mut self,
        connection: &mut PgConnection,
        keys: &HashMap<i64, Arc<CachedKey>>,
    ) -> sqlx::Result<()> {
        let mut transaction = api_key_quota_lease::lock_exchange(connection).await?;
        if api_key_quota_lease::heartbeat(&mut transaction, self.server_id).await? {
            // The first one, or the tables were emptied by a crash of Postgres.
            keys.values().for_each(|key| key.unpublish());
        }
        if !self.released.is_empty() {
            api_key_quota_lease::delete(&mut transaction, self.server_id, &self.released).await?;
        }
        let servers = api_key_quota_lease::list_other_servers(&mut transaction, self.server_id).await?;
        let now = Instant::now();
        let expired = self.observe(servers, now);
        if !expired.is_empty() {
            api_key_quota_lease::purge(&mut transaction, &expired).await?;
        }
        let ids: Vec<_> = keys.keys().copied().collect();
        let mut others: HashMap<i64, Vec<QuotaLease>> = HashMap::new();
        for (server, row) in api_key_quota_lease::list_others(&mut transaction, self.server_id, &ids).await? {
            let lease = if self.is_alive(server, now) { lease(&row) } else { lease(&row).expired() };
            others.entry(row.api_key_id).or_default().push(lease);
        }
        let mut changed = Vec::new();
        for key in keys.values() {
            let others = others.get(&key.id).map(Vec::as_slice).unwrap_or_default();
            let Some(lease) = key.next_lease(others, now) else { continue };
            if !key.is_published(lease, others.is_empty()) {
                changed.push((key, lease));
            }
        }
        if !changed.is_empty() {
            let rows: Vec<_> = changed.iter().map(|(key, lease)| row(key, *lease)).collect();
            api_key_quota_lease::upsert(&mut transaction, self.server_id, &rows).await?;
        }
        transaction.commit().await?;
        self.registered = true;
        self.released.clear();
        changed.into_iter().for_each(|(key, lease)| key.published(lease));
        Ok(())
    }

    /// Notes which heartbeats have changed. Returns the servers that stopped so long ago that none of their calls counts.
    fn observe(&mut self, servers: Vec<ServerRow>, now: Instant) -> Vec<i64> {
        let mut before = std::mem::take(&mut self.others);
        for ServerRow { id, heartbeat, running } in servers {
            let known = before.remove(&id).filter(|known| known.heartbeat == heartbeat);
            let since = known.map_or(now, |known| known.since);
            self.others.insert(id, OtherServer { heartbeat, running, since });
        }
        let expired = |other: &OtherServer| now.saturating_duration_since(other.since) > WINDOW + LEASE_TERM;
        self.others.iter().filter(|(_, other)| expired(other)).map(|(id, _)| *id).collect()
    }

    /// Also a server that is seen for the first time, as it may be: that turns out within a lease's term.
    fn is_alive(&self, server: i64, now: Instant) -> bool {
        let valid =
            |other: &OtherServer| other.running && now.saturating_duration_since(other.since) <= LEASE_TERM;
        self.others.get(&server).is_some_and(valid)
    }

    /// Reduces each lease to the calls of the current window, which keep counting on the other servers. This server must
    /// admit no call after it.
    pub(super) async fn deregister(
        &self,
        connection: &mut PgConnection,
        keys: &HashMap<i64, Arc<CachedKey>>,
    ) -> sqlx::Result<()> {
        let mut transaction = api_key_quota_lease::lock_exchange(connection).await?;
        let now = Instant::now();
        let rows: Vec<_> = keys
            .values()
            .filter_map(|key| key.next_lease(&[], now).map(|lease| row(key, lease.expired())))
            .collect();
        api_key_quota_lease::upsert(&mut transaction, self.server_id, &rows).await?;
        api_key_quota_lease::deregister(&mut transaction, self.server_id).await?;
        transaction.commit().await
    }

    pub(super) fn is_registered(&self) -> bool {
        self.registered
    }
}

fn row(key: &CachedKey, lease: QuotaLease) -> LeaseRow {
    let [calls, quota, demand] = [lease.calls, lease.quota, lease.demand].map(i64::from);
    LeaseRow { api_key_id: key.id, calls, quota, demand }
}

fn lease(row: &LeaseRow) -> QuotaLease {
    let [calls, quota, demand] =
        [row.calls, row.quota, row.demand].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    QuotaLease { calls, quota, demand }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(heartbeat: &str, running: bool) -> Vec<ServerRow> {
        vec![ServerRow { id: 1, heartbeat: heartbeat.into(), running }]
    }

    #[test]
    fn a_server_is_alive_while_its_heartbeat_changes_whatever_it_says() {
        let mut exchange = QuotaExchange::new();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (heartbeat, seconds) in [("2026", 0), ("1970", 2), ("2093", 4), ("2093", 6)] {
            assert!(exchange.observe(row(heartbeat, true), at(seconds)).is_empty());
            assert!(exchange.is_alive(1, at(seconds)));
        }
        assert!(exchange.observe(row("2093", true), at(7)).is_empty());
        assert!(!exchange.is_alive(1, at(7)));
        assert!(exchange.observe(row("2093", true), at(66)).is_empty(), "its calls still count");
        assert_eq!(exchange.observe(row("2093", true), at(67)), [1]);
    }

    #[test]
    fn the_lease_of_a_stopped_server_has_expired() {
        let mut exchange = QuotaExchange::new();
        let now = Instant::now();
        assert!(exchange.observe(row("-infinity", false), now).is_empty(), "its calls still count");
        assert!(!exchange.is_alive(1, now));
    }
}
