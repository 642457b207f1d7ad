//! Looks up keys that are not cached. All lookups that are pending at the same time are one query, one at a time: so clients that
//! try invalid keys cost the database no more than one connection, and no valid key has to be rejected because of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::connection::TaskConnection;
use crate::db::api_key::{self, KeyState};
use crate::domain::SecretHash;

/// Keys in one query.
const MAX_BATCH: usize = 256;
/// Client-side timeout of a query.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a lookup found; `None`: no such key.
pub(super) type Found = Result<Option<KeyState>, Arc<sqlx::Error>>;

pub(super) struct PendingLookup {
    pub(super) hash: SecretHash,
    pub(super) reply: oneshot::Sender<Found>,
}

/// Runs until the sender of `pending` is dropped.
pub(super) async fn run(connection: TaskConnection, mut pending: mpsc::UnboundedReceiver<PendingLookup>) {
    let mut batch = Vec::new();
    while pending.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let hashes: Vec<_> = batch.iter().map(|lookup| lookup.hash.as_bytes().to_vec()).collect();
        let find = async |db: &mut _| api_key::find_by_hashes(db, &hashes).await;
        let found = connection.run(TIMEOUT, find).await.map_err(Arc::new);
        for PendingLookup { hash, reply } in batch.drain(..) {
            // A request that has left needs no reply.
            let _ = reply.send(match &found {
                Ok(states) => Ok(states.get(hash.as_bytes()).cloned()),
                Err(error) => Err(Arc::clone(error)),
            });
        }
    }
}
