//! Sessions whose statement waits for a lock.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

/// A watch that keeps its connections: a writer waits for 10 ms and is attempted again later, so a look that takes longer misses it, and
/// one that connects anew takes the processors from the server.
pub struct LockWaits {
    /// Of a cluster the coordinator comes first. The wait of one of its sessions may be on a worker.
    nodes: Vec<PgConnection>,
}

/// A session of the database, on a cluster one of the coordinator.
#[derive(sqlx::FromRow)]
pub struct LockWait {
    pub pid: i32,
    pub application_name: String,
    pub query: String,
}

impl LockWaits {
    pub(super) async fn watch(nodes: &[PgConnectOptions]) -> Self {
        let mut connections = Vec::with_capacity(nodes.len());
        for node in nodes {
            connections.push(PgConnection::connect_with(node).await.unwrap());
        }
        Self { nodes: connections }
    }

    /// Those that wait at this moment.
    pub async fn now(&mut self) -> Vec<LockWait> {
        // A session of the coordinator names itself on a worker: the number of its node, then ten digits of its pid.
        let waiting = "select coalesce(right(substring(application_name, '^citus_internal gpid=(\\d+)'), 10)::int4, pid)
                       from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let mut pids: Vec<i32> = Vec::new();
        for node in &mut self.nodes {
            pids.extend(sqlx::query_scalar::<_, i32>(waiting).fetch_all(node).await.unwrap());
        }
        if pids.is_empty() {
            return Vec::new();
        }
        let sessions = "select pid, application_name, query from pg_stat_activity
                        where datname = current_database() and pid = any($1)";
        sqlx::query_as(sessions).bind(pids).fetch_all(&mut self.nodes[0]).await.unwrap()
    }

    /// Comes back with the first one that is wanted.
    pub async fn until(&mut self, wanted: impl Fn(&LockWait) -> bool) -> LockWait {
        loop {
            if let Some(found) = self.now().await.into_iter().find(&wanted) {
                return found;
            }
        }
    }
}

impl LockWait {
    pub fn is_of_a_writer(&self) -> bool {
        self.application_name == "customer-match writer"
    }

    /// Of a read, or of a subcommand.
    pub fn is_of_the_pool(&self) -> bool {
        self.application_name == "customer-match"
    }
}
