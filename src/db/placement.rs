//! On which node of a cluster the rows of an organisation are.
//!
//! Answers are cached for a minute. A shard may move meanwhile: then statements go by way of a node that has not got the rows, and
//! are slower, but never wrong. A read that meets that lets the next one ask again ([`Placements::doubt`]).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::sync;

use super::connect::{Plans, Session};
use super::connections::{Connections, bounded};
use super::layout::Layout;

/// How old an answer may be.
const LIFETIME: Duration = Duration::from_secs(60);
/// An answer of this age is asked for again once it is in doubt.
const DOUBTED_AFTER: Duration = Duration::from_secs(2);
/// Of one question, which the coordinator answers by itself.
const TIMEOUT: Duration = Duration::from_secs(2);

const SESSION: Session = Session {
    application_name: "customer-match placement",
    statement_timeout: TIMEOUT,
    lock_timeout: TIMEOUT,
    plans: Plans::Auto,
};

/// A node, by the number of its group in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(i32);

impl Node {
    /// The coordinator, or the only Postgres. It stands for a node that is not known too.
    pub const COORDINATOR: Self = Self(0);
}

/// The handle of the cache. Clones share it.
#[derive(Clone)]
pub struct Placements {
    /// `None`: the database is not distributed.
    cache: Option<Arc<Cache>>,
}

struct Cache {
    connections: Connections,
    /// One question at a time: the others wait, and may find its answer.
    asking: sync::Mutex<()>,
    /// Of every organisation that was asked for.
    known: Mutex<HashMap<i64, Known>>,
}

#[derive(Clone, Copy)]
struct Known {
    node: Node,
    since: Instant,
    is_doubted: bool,
}

impl Placements {
    /// No connection is open when this returns.
    pub fn new(options: &PgConnectOptions, layout: Layout) -> Self {
        let cache = || Cache {
            connections: Connections::new(options.clone(), SESSION),
            asking: sync::Mutex::default(),
            known: Mutex::default(),
        };
        Self { cache: (layout == Layout::Distributed).then(|| Arc::new(cache())) }
    }

    pub fn layout(&self) -> Layout {
        if self.cache.is_some() { Layout::Distributed } else { Layout::Single }
    }

    /// As it was known at the last [`find`](Self::find).
    pub fn known(&self, organisation_id: i64) -> Node {
        let known = self.cache.as_ref().and_then(|cache| cache.known().get(&organisation_id).copied());
        known.map_or(Node::COORDINATOR, |known| known.node)
    }

    /// The next [`find`](Self::find) asks anew, unless the answer is of the last two seconds.
    pub fn doubt(&self, organisation_id: i64) {
        if let Some(cache) = &self.cache {
            cache.doubt(organisation_id);
        }
    }

    /// Asks the coordinator if the answer is not known or old. The old one is good if that fails.
    pub async fn find(&self, organisation_id: i64) -> Node {
        if let Some(cache) = &self.cache
            && let Err(error) = bounded(TIMEOUT, cache.refresh(organisation_id)).await
        {
            tracing::debug!(%error, organisation_id, "cannot ask for the node of an organisation");
        }
        self.known(organisation_id)
    }
}

impl Cache {
    fn doubt(&self, organisation_id: i64) {
        if let Entry::Occupied(known) = self.known().entry(organisation_id)
            && known.get().since.elapsed() > DOUBTED_AFTER
        {
            known.into_mut().is_doubted = true;
        }
    }

    async fn refresh(&self, organisation_id: i64) -> sqlx::Result<()> {
        if self.is_fresh(organisation_id) {
            return Ok(());
        }
        let _asking = self.asking.lock().await;
        if self.is_fresh(organisation_id) {
            return Ok(());
        }
        let read = async |db: &mut PgConnection| read(db, organisation_id).await;
        let node = self.connections.with_connection(TIMEOUT, read).await?;
        let known = Known { node, since: Instant::now(), is_doubted: false };
        self.known().insert(organisation_id, known);
        Ok(())
    }

    fn is_fresh(&self, organisation_id: i64) -> bool {
        let is_fresh = |known: &Known| !known.is_doubted && known.since.elapsed() < LIFETIME;
        self.known().get(&organisation_id).is_some_and(is_fresh)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<i64, Known>> {
        // Nothing panics while it is locked.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The catalogue is there only with the extension, so the statement cannot be checked at compile time.
async fn read(db: &mut PgConnection, organisation_id: i64) -> sqlx::Result<Node> {
    let group = sqlx::query_scalar(
        "select groupid from pg_dist_placement
         where shardid = get_shard_id_for_distribution_column('customer', $1) and shardstate = 1
         order by placementid limit 1",
    )
    .bind(organisation_id);
    Ok(Node(group.fetch_one(db).await?))
}
