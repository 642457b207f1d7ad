//! The exchange of shares with other servers, on the connection of the rounds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use sqlx::PgConnection;

use super::Key;
use crate::db::api_key_share::{self, Share};
use crate::rate_limit::Holding;

/// This server among those that keep limits together.
pub(super) struct Shares {
    server_id: i64,
    appeared: bool,
    /// Keys that are not in use any more and whose shares others may still see.
    released: Vec<i64>,
}

impl Shares {
    pub(super) fn new() -> Self {
        Self { server_id: rand::random(), appeared: false, released: Vec::new() }
    }

    /// Gives up the share of a key with the next exchange.
    pub(super) fn release(&mut self, key: &Key) {
        self.released.push(key.id);
    }

    /// Takes and gives up shares of these keys.
    pub(super) async fn exchange(
        &mut self,
        connection: &mut PgConnection,
        keys: &HashMap<i64, Arc<Key>>,
    ) -> sqlx::Result<()> {
        let mut turn = api_key_share::take_turn(connection).await?;
        if !self.appeared {
            api_key_share::forget_the_gone(&mut turn).await?;
        }
        api_key_share::appear(&mut turn, self.server_id).await?;
        if !self.released.is_empty() {
            api_key_share::release(&mut turn, self.server_id, &self.released).await?;
        }
        let ids: Vec<_> = keys.keys().copied().collect();
        let mut others: HashMap<i64, Vec<Holding>> = HashMap::new();
        for share in api_key_share::of_others(&mut turn, self.server_id, &ids).await? {
            others.entry(share.api_key_id).or_default().push(holding(&share));
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
            api_key_share::hold(&mut turn, self.server_id, &rows).await?;
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
        keys: &HashMap<i64, Arc<Key>>,
    ) -> sqlx::Result<()> {
        let mut turn = api_key_share::take_turn(connection).await?;
        let now = Instant::now();
        let rows: Vec<_> = keys
            .values()
            .filter_map(|key| key.exchange(&[], now).map(|holding| row(key, holding.abandoned())))
            .collect();
        api_key_share::hold(&mut turn, self.server_id, &rows).await?;
        api_key_share::disappear(&mut turn, self.server_id).await?;
        turn.commit().await
    }

    pub(super) fn has_appeared(&self) -> bool {
        self.appeared
    }
}

fn row(key: &Key, holding: Holding) -> Share {
    let [calls, share, demand] = [holding.calls, holding.share, holding.demand].map(i64::from);
    Share { api_key_id: key.id, calls, share, demand, alive: true }
}

fn holding(share: &Share) -> Holding {
    let [calls, held, demand] =
        [share.calls, share.share, share.demand].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let holding = Holding { calls, share: held, demand };
    if share.alive { holding } else { holding.abandoned() }
}
