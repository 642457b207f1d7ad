//! What the endpoints share. Plain values: no layer and no route is known here.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use sqlx::PgConnection;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::concurrency_limit::ConcurrencyLimit;
use super::cursors::Cursors;
use super::identity_attempts::IdentityAttempts;
use crate::api_keys::ApiKeyCache;
use crate::change_renumbering::ChangeRenumbering;
use crate::change_watcher::ChangeWatcher;
use crate::config::{AccessLog, Cors, ServerTiming, Timeouts, TrustedProxies};
use crate::db::matched_customer::{self, Beginning, List, Owner, Page};
use crate::db::{Layout, Readiness, RequestPool, cursor_key};
use crate::domain::CursorKey;
use crate::fair_budget::FairBudget;
use crate::group_commit::GroupCommit;
use crate::list_batches::ListBatches;
use crate::maintenance::Maintenance;
use crate::metrics::Metrics;
use crate::rate_limit::ClientWindows;
use crate::read_replica::ReadReplica;

pub(crate) struct AppState {
    pub(crate) pool: Arc<RequestPool>,
    /// See [`AppState::read`].
    pub(crate) replica: OnceLock<ReadReplica>,
    /// Of a distributed database.
    pub(crate) list_batches: ListBatches,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) keys: ApiKeyCache,
    pub(crate) group_commit: GroupCommit,
    /// Calls of each client with each publishable key, by its id.
    pub(crate) publishable_calls: ClientWindows<i64>,
    pub(crate) identity_attempts: IdentityAttempts,
    /// Whether the documentation's sample key is accepted.
    pub(crate) demo: bool,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) access_log: AccessLog,
    pub(crate) server_timing: ServerTiming,
    pub(crate) cors: Cors,
    /// See [`AppState::cursors`].
    pub(crate) cursor_key: OnceCell<CursorKey>,
    pub(crate) concurrency_limit: ConcurrencyLimit,
    /// Bytes of bodies that are being received, by client.
    pub(crate) body_budget: Arc<FairBudget<Option<IpAddr>>>,
    /// Bytes of answers that have not been sent, by client.
    pub(crate) answer_budget: Arc<FairBudget<Option<IpAddr>>>,
    /// Lines of streams that have begun and not finished, by organisation.
    pub(crate) stream_window: Arc<FairBudget<i64>>,
    pub(crate) changes: ChangeWatcher,
    pub(crate) renumbering: ChangeRenumbering,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) maintenance: Maintenance,
    pub(crate) timeouts: Timeouts,
    /// Cancelled when the server is told to stop; `/readyz` is 503 from then on.
    pub(crate) shutdown: CancellationToken,
}

impl AppState {
    /// The key of the cursors is read with the first of them, on a connection of that organisation.
    pub(crate) async fn cursors(&self, organisation_id: i64) -> sqlx::Result<Cursors<'_>> {
        let read = || self.pool.with_connection(organisation_id, cursor_key::find);
        Ok(Cursors::new(self.cursor_key.get_or_try_init(read).await?, organisation_id))
    }

    /// Reads on the replica, if there is one that can answer, or else on the primary. What this server has acknowledged, or another
    /// one, is seen on both.
    pub(crate) async fn read<T>(
        &self,
        organisation_id: i64,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T> + Clone,
    ) -> sqlx::Result<T> {
        if let Some(replica) = self.replica.get()
            && let Some(answer) = replica.read(organisation_id, work.clone()).await
        {
            return Ok(answer);
        }
        self.pool.with_connection(organisation_id, work).await
    }

    /// A page of a list. `None`: the owner does not exist or is not logged in.
    pub(crate) async fn page(&self, list: &List<'_>) -> sqlx::Result<Option<Page>> {
        let index_timeout = self.timeouts.filter;
        let page = async |db: &mut PgConnection| matched_customer::page(db, list, index_timeout).await;
        match (list.layout, list.owner) {
            // Sessions are not looked for on the replica.
            (Layout::Single, Owner::Identity(_)) => {
                self.pool.with_connection(list.organisation_id, page).await
            }
            (Layout::Single, Owner::CuRefNo(_)) => self.read(list.organisation_id, page).await,
            (Layout::Distributed, _) => match self.list_batches.begin(list).await? {
                Some(Beginning::Page(page)) => Ok(page),
                Some(Beginning::LongList(term)) => {
                    let search = async |db: &mut PgConnection| {
                        matched_customer::search_long_list(db, list, term, index_timeout).await
                    };
                    self.pool.with_connection(list.organisation_id, search).await
                }
                None => self.pool.with_connection(list.organisation_id, page).await,
            },
        }
    }
}
