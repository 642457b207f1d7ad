//! The exchange of quota leases with other servers, on the refresher's connection.
//!
//! Servers exchange one at a time, under a lock: each reads the leases of the others and then writes its own, so the quotas
//! never add up to more than a limit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use sqlx::PgConnection;

use super::CachedKey;
use crate::db::api_key_quota_lease::{self, LeaseRow};
use crate::rate_limit::QuotaLease;

pub(super) struct QuotaExchange {
    server_id: i64,
    registered: bool,
    /// Keys that became idle and whose leases other servers still see.
    released: Vec<i64>,
}

impl QuotaExchange {
    pub(super) fn new() -> Self {
        Self { server_id: rand::random(), registered: false, released: Vec::new() }
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
        if !self.registered {
            api_key_quota_lease::purge_expired(&mut transaction).await?;
        }
        api_key_quota_lease::heartbeat(&mut transaction, self.server_id).await?;
        if !self.released.is_empty() {
            api_key_quota_lease::delete(&mut transaction, self.server_id, &self.released).await?;
        }
        let ids: Vec<_> = keys.keys().copied().collect();
        let mut others: HashMap<i64, Vec<QuotaLease>> = HashMap::new();
        for row in api_key_quota_lease::list_others(&mut transaction, self.server_id, &ids).await? {
            others.entry(row.api_key_id).or_default().push(lease(&row));
        }
        let now = Instant::now();
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
    LeaseRow { api_key_id: key.id, calls, quota, demand, alive: true }
}

fn lease(row: &LeaseRow) -> QuotaLease {
    let [calls, quota, demand] =
        [row.calls, row.quota, row.demand].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let lease = QuotaLease { calls, quota, demand };
    if row.alive { lease } else { lease.expired() }
}
