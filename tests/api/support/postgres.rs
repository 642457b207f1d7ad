//! Databases for tests: one server for all of them, one database for each.
//!
//! The server is a throw-away private Postgres, where each database is copied from a migrated template, or the one of
//! `DATABASE_URL` if that is set, where each is migrated anew and nothing stays behind.

use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use customer_match::db::placement::Placements;
use customer_match::db::{Layout, migration};
use customer_match::group_commit::GroupCommit;
use private_postgres::PrivatePostgres;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

static SERVER: LazyLock<Server> = LazyLock::new(|| block_on(Server::start));
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Migrated once, on the throw-away server only.
const TEMPLATE: &str = "customer_match_template";

/// Every test fails whose statements change a relation and set no change number. Statements of tests leave the version as it is.
const GUARD: &str = "
    create function changed_in_is_set() returns trigger language plpgsql as
      $$ begin raise 'a relation is changed without a change number'; end $$;
    create trigger changed_in_is_set before update on customer_match for each row
      when (new.version > old.version and new.changed_in <> pg_current_xact_id())
      execute function changed_in_is_set()";

struct Server {
    options: PgConnectOptions,
    throw_away: bool,
}

impl Server {
    async fn start() -> Self {
        if let Ok(url) = std::env::var("DATABASE_URL") {
            return Self { options: PgConnectOptions::from_str(&url).unwrap(), throw_away: false };
        }
        let postgres = PrivatePostgres::start_throw_away().await.unwrap();
        let options = postgres.connect_options();
        // Lives as long as this process; its supervisor sees the end of that.
        std::mem::forget(postgres);
        execute(&options, &format!("create database {TEMPLATE}")).await;
        migration::run(&options.clone().database(TEMPLATE)).await.unwrap();
        execute(&options.clone().database(TEMPLATE), GUARD).await;
        Self { options, throw_away: true }
    }
}

/// A database, dropped with the value.
pub struct TestDatabase {
    name: String,
}

impl TestDatabase {
    /// Migrated, with nothing in it.
    pub async fn create() -> Self {
        if server().await.throw_away {
            return Self::create_by(&format!("template {TEMPLATE} strategy file_copy")).await;
        }
        let database = Self::create_empty().await;
        migration::run(&database.options()).await.unwrap();
        database
    }

    /// A database without even a schema.
    pub async fn create_empty() -> Self {
        Self::create_by("").await
    }

    /// With these options of `create database`.
    pub async fn create_by(how: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("customer_match_test_{}_{number}", std::process::id());
        execute(&server().await.options, &format!("create database {name} {how}")).await;
        Self { name }
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
        Layout::Single
    }

    /// Writers of another server on the same database.
    pub fn group_commit(&self) -> GroupCommit {
        let options = self.options();
        GroupCommit::start(&options, Placements::new(&options, self.layout()))
    }

    pub fn options(&self) -> PgConnectOptions {
        SERVER.options.clone().database(&self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if !SERVER.throw_away {
            let sql = format!("drop database if exists {} with (force)", self.name);
            block_on(|| async move { execute(&SERVER.options, &sql).await });
        }
    }
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
