//! Databases for tests: one server for all of them, one database for each.
//!
//! The server is one of three:
//!
//! - A throw-away private Postgres, where each database is copied from a migrated template.
//! - The one of `DATABASE_URL`, where each database is migrated anew and nothing stays behind.
//! - The cluster that the database of `DATABASE_URL` is the coordinator of. On each of its nodes there are a distributed
//!   template and the copies of it, and the templates stay behind, for the next run to replace.

use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use customer_match::db::distribution::Distribution;
use customer_match::db::placement::Placements;
use customer_match::db::{Layout, migration};
use customer_match::group_commit::GroupCommit;
use futures_util::future::join_all;
use private_postgres::PrivatePostgres;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::lock_waits::LockWaits;

static SERVER: LazyLock<Server> = LazyLock::new(|| block_on(Server::start));
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Every test fails whose statements change a relation and set no change number. Statements of tests leave the version as it is.
const GUARD: &str = "
    create function changed_in_is_set() returns trigger language plpgsql as
      $$ begin raise 'a relation is changed without a change number'; end $$;
    create trigger changed_in_is_set before update on customer_match for each row
      when (new.version > old.version and new.changed_in <> pg_current_xact_id())
      execute function changed_in_is_set()";

struct Server {
    kind: Kind,
    /// Of a cluster the coordinator comes first.
    nodes: Vec<PgConnectOptions>,
    template: String,
    /// On a cluster: the extension and the nodes, and nothing else.
    empty_template: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ThrowAway,
    Given,
    Cluster,
}

impl Server {
    async fn start() -> Self {
        let Ok(url) = std::env::var("DATABASE_URL") else { return Self::start_throw_away().await };
        let given = PgConnectOptions::from_str(&url).unwrap();
        let name = given.get_database().unwrap_or("postgres");
        let mut server = Self {
            kind: Kind::Given,
            template: format!("{name}_template"),
            empty_template: format!("{name}_empty"),
            nodes: vec![given.clone()],
        };
        let mut connection = PgConnection::connect_with(&given).await.unwrap();
        let is_cluster = "select to_regclass('pg_dist_node') is not null";
        if sqlx::query_scalar(is_cluster).fetch_one(&mut connection).await.unwrap() {
            let nodes = Node::all(&mut connection).await;
            server.kind = Kind::Cluster;
            server.nodes = nodes.iter().map(|node| node.options(&given)).collect();
            server.create_templates(&nodes).await;
        }
        connection.close().await.unwrap();
        server
    }

    async fn start_throw_away() -> Self {
        let postgres = PrivatePostgres::start_throw_away().await.unwrap();
        let options = postgres.connect_options();
        // Lives as long as this process; its supervisor sees the end of that.
        std::mem::forget(postgres);
        let template = "customer_match_template".to_owned();
        execute(&options, &format!("create database {template}")).await;
        migration::run(&options.clone().database(&template)).await.unwrap();
        execute(&options.clone().database(&template), GUARD).await;
        Self { kind: Kind::ThrowAway, nodes: vec![options], template, empty_template: String::new() }
    }

    async fn create_templates(&self, nodes: &[Node]) {
        for name in [&self.template, &self.empty_template] {
            self.on_each_node(async |node| drop_database(node, name).await).await;
            self.on_each_node(async |node| {
                execute(node, &format!("create database {name}")).await;
                execute(&node.clone().database(name), "create extension citus").await;
            })
            .await;
            let coordinator = self.nodes[0].clone().database(name);
            for node in nodes {
                execute(&coordinator, &node.register()).await;
            }
        }
        let coordinator = self.nodes[0].clone().database(&self.template);
        migration::run(&coordinator).await.unwrap();
        let mut distribution = Distribution::open(&coordinator, nodes.len() == 1).await.unwrap();
        let plan = distribution.plan().await.unwrap();
        distribution.run(&plan).await.unwrap();
        for name in [&self.template, &self.empty_template] {
            // Citus connects to each database by itself, and a database in use is not copied.
            self.on_each_node(async |node| {
                execute(node, &format!("alter database {name} allow_connections false")).await;
                let end = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1";
                let mut connection = PgConnection::connect_with(node).await.unwrap();
                sqlx::query(end).bind(name).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            })
            .await;
        }
    }

    async fn on_each_node(&self, work: impl AsyncFn(&PgConnectOptions)) {
        join_all(self.nodes.iter().map(|node| work(node))).await;
    }
}

/// A node of a cluster, as its coordinator knows it.
#[derive(sqlx::FromRow)]
struct Node {
    host: String,
    port: i32,
    is_coordinator: bool,
    has_shards: bool,
}

impl Node {
    async fn all(coordinator: &mut PgConnection) -> Vec<Self> {
        let nodes: Vec<Self> = sqlx::query_as(
            "select nodename as host, nodeport as port, groupid = 0 as is_coordinator, shouldhaveshards as has_shards
             from pg_dist_node where noderole = 'primary' order by groupid",
        )
        .fetch_all(coordinator)
        .await
        .unwrap();
        assert!(
            nodes.first().is_some_and(|node| node.is_coordinator),
            "DATABASE_URL names a coordinator that its cluster knows (citus_set_coordinator_host)"
        );
        nodes
    }

    fn options(&self, coordinator: &PgConnectOptions) -> PgConnectOptions {
        if self.is_coordinator {
            return coordinator.clone();
        }
        coordinator.clone().host(&self.host).port(self.port.try_into().unwrap())
    }

    fn register(&self) -> String {
        let Self { host, port, has_shards, .. } = self;
        let add = if self.is_coordinator { "citus_set_coordinator_host" } else { "citus_add_node" };
        format!(
            "select {add}('{host}', {port});
             select citus_set_node_property('{host}', {port}, 'shouldhaveshards', {has_shards})"
        )
    }
}

/// A database, dropped with the value.
pub struct TestDatabase {
    name: String,
    layout: Layout,
}

impl TestDatabase {
    /// Migrated, with nothing in it. On a cluster it is distributed.
    pub async fn create() -> Self {
        let Server { kind, template, .. } = server().await;
        if *kind == Kind::Given {
            let database = Self::create_empty().await;
            migration::run(&database.options()).await.unwrap();
            return database;
        }
        let layout = if *kind == Kind::Cluster { Layout::Distributed } else { Layout::Single };
        Self::copy(template, layout).await
    }

    /// A database without even a schema.
    pub async fn create_empty() -> Self {
        let server = server().await;
        match server.kind {
            Kind::Cluster => Self::copy(&server.empty_template, Layout::Single).await,
            Kind::ThrowAway | Kind::Given => Self::create_by("").await,
        }
    }

    /// With these options of `create database`.
    pub async fn create_by(how: &str) -> Self {
        let database = Self::named(Layout::Single);
        execute(&server().await.nodes[0], &format!("create database {} {how}", database.name)).await;
        database
    }

    async fn copy(template: &str, layout: Layout) -> Self {
        let database = Self::named(layout);
        let copy = format!("create database {} template {template} strategy file_copy", database.name);
        server().await.on_each_node(async |node| execute(node, &copy).await).await;
        database
    }

    fn named(layout: Layout) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("customer_match_test_{}_{number}", std::process::id()), layout }
    }

    /// For a server in a process of its own.
    pub fn url(&self) -> String {
        url(&self.options())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options()).await.unwrap()
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Starts to watch who waits for a lock.
    pub async fn lock_waits(&self) -> LockWaits {
        let nodes = match self.layout {
            Layout::Single => &SERVER.nodes[..1],
            Layout::Distributed => &SERVER.nodes,
        };
        let nodes: Vec<_> = nodes.iter().map(|node| node.clone().database(&self.name)).collect();
        LockWaits::watch(&nodes).await
    }

    /// Writers of another server on the same database.
    pub fn group_commit(&self) -> GroupCommit {
        let options = self.options();
        GroupCommit::start(&options, Placements::new(&options, self.layout()))
    }

    pub fn options(&self) -> PgConnectOptions {
        SERVER.nodes[0].clone().database(&self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if SERVER.kind != Kind::ThrowAway {
            let name = self.name.clone();
            block_on(|| async move {
                SERVER.on_each_node(async |node| drop_database(node, &name).await).await;
            });
        }
    }
}

/// Prepared transactions, whose coordinator has ended, would keep the database for ever.
async fn drop_database(node: &PgConnectOptions, name: &str) {
    let mut connection = PgConnection::connect_with(node).await.unwrap();
    let drop = format!("drop database if exists {name} with (force)");
    while let Err(error) = sqlx::raw_sql(&drop).execute(&mut connection).await {
        const IN_USE: &str = "55006";
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), IN_USE, "{error}");
        let mut inside = PgConnection::connect_with(&node.clone().database(name)).await.unwrap();
        let prepared: Vec<String> =
            sqlx::query_scalar("select gid from pg_prepared_xacts where database = current_database()")
                .fetch_all(&mut inside)
                .await
                .unwrap();
        for transaction in prepared {
            sqlx::raw_sql(&format!("rollback prepared '{transaction}'")).execute(&mut inside).await.unwrap();
        }
        inside.close().await.unwrap();
    }
    connection.close().await.unwrap();
}

/// How to connect, for another process.
pub fn url(options: &PgConnectOptions) -> String {
    options.to_url_lossy().into()
}

async fn server() -> &'static Server {
    tokio::task::spawn_blocking(|| LazyLock::force(&SERVER)).await.unwrap()
}

async fn execute(options: &PgConnectOptions, sql: &str) {
    let mut connection = PgConnection::connect_with(options).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// On a thread and runtime of its own: each test's runtime ends with the test, and none may be entered twice. The
/// runtime stays, the private Postgres is watched on it.
fn block_on<F: Future<Output: Send + 'static>>(work: impl FnOnce() -> F + Send + 'static) -> F::Output {
    std::thread::spawn(|| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let output = runtime.block_on(work());
        std::mem::forget(runtime);
        output
    })
    .join()
    .unwrap()
}
