//! The exchange of leases with other servers, on the connection of the rounds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use sqlx::PgConnection;

use super::CachedKey;
use crate::db::api_key_quota_lease::{self, LeaseRow};
use crate::rate_limit::QuotaLease;

/// This server among those that keep limits together.
pub(super) struct QuotaExchange {
    server_id: i64,
    appeared: bool,
    /// Keys that are not in use any more and whose leases others may still see.
    released: Vec<i64>,
}

impl QuotaExchange {
    pub(super) fn new() -> Self {
        Self { server_id: rand::random(), appeared: false, released: Vec::new() }
    }

    /// Gives up the quota of a key with the next exchange.
    pub(super) fn release(&mut self, key: &CachedKey) {
        self.released.push(key.id);
    }

    /// Takes and gives up leases of these keys.
    pub(super) async fn exchange(
        &mut self,
        connection: &mut PgConnection,
        keys: &HashMap<i64, Arc<CachedKey>>,
    ) -> sqlx::Result<()> {
        let mut turn = api_key_quota_lease::lock_exchange(connection).await?;
        if !self.appeared {
            api_key_quota_lease::purge_expired(&mut turn).await?;
        }
        api_key_quota_lease::heartbeat(&mut turn, self.server_id).await?;
        if !self.released.is_empty() {
            api_key_quota_lease::delete(&mut turn, self.server_id, &self.released).await?;
        }
        let ids: Vec<_> = keys.keys().copied().collect();
        let mut others: HashMap<i64, Vec<QuotaLease>> = HashMap::new();
        for quota in api_key_quota_lease::list_others(&mut turn, self.server_id, &ids).await? {
            others.entry(quota.api_key_id).or_default().push(holding(&quota));
        }
        let now = Instant::now();
        let mut held = Vec::new();
        for key in keys.values() {
            let others = others.get(&key.id).map(Vec::as_slice).unwrap_or_default();
            let Some(holding) = key.exchange(others, now) else { continue };
            if !key.is_written(holding, others.is_empty()) {
                held.push((key, holding));
            }
        }
        if !held.is_empty() {
            let rows: Vec<_> = held.iter().map(|(key, holding)| row(key, *holding)).collect();
            api_key_quota_lease::upsert(&mut turn, self.server_id, &rows).await?;
        }
        turn.commit().await?;
        self.appeared = true;
        self.released.clear();
        held.into_iter().for_each(|(key, holding)| key.hold(holding));
        Ok(())
    }

    /// Leaves to others what has not been used. Nothing may be let in after this.
    pub(super) async fn leave(
        &self,
        connection: &mut PgConnection,
        keys: &HashMap<i64, Arc<CachedKey>>,
    ) -> sqlx::Result<()> {
        let mut turn = api_key_quota_lease::lock_exchange(connection).await?;
        let now = Instant::now();
        let rows: Vec<_> = keys
            .values()
            .filter_map(|key| key.exchange(&[], now).map(|holding| row(key, holding.abandoned())))
            .collect();
        api_key_quota_lease::upsert(&mut turn, self.server_id, &rows).await?;
        api_key_quota_lease::deregister(&mut turn, self.server_id).await?;
        turn.commit().await
    }

    pub(super) fn has_appeared(&self) -> bool {
        self.appeared
    }
}

fn row(key: &CachedKey, holding: QuotaLease) -> LeaseRow {
    let [calls, quota, demand] = [holding.calls, holding.quota, holding.demand].map(i64::from);
    LeaseRow { api_key_id: key.id, calls, quota, demand, alive: true }
}

fn holding(quota: &LeaseRow) -> QuotaLease {
    let [calls, held, demand] =
        [quota.calls, quota.quota, quota.demand].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let holding = QuotaLease { calls, quota: held, demand };
    if quota.alive { holding } else { holding.abandoned() }
}
