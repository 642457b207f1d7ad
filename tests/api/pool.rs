//! The connections to the database: no organisation takes them from the others, and no request that has ended keeps one.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use axum::http::header::HOST;
use futures_util::future::join_all;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::support::{CUSTOMER, LIST, LockWait, LockWaits, MANAGER, Service, uri};

/// Reads that wait for the end of a lock on the table of customers.
struct Blocked {
    service: Service,
    lock: PgConnection,
    waits: LockWaits,
}

impl Blocked {
    async fn start(flags: &[&str]) -> Self {
        let service = Service::start_configured(flags).await;
        let mut lock = PgConnection::connect_with(&service.database.options()).await.unwrap();
        // The keys and the relations can be read.
        sqlx::raw_sql("begin; lock table customer").execute(&mut lock).await.unwrap();
        let waits = service.database.lock_waits().await;
        Self { service, lock, waits }
    }

    fn list(&self, key: &str) -> JoinHandle<u16> {
        self.filtered_list(key, "")
    }

    fn filtered_list(&self, key: &str, filter: &str) -> JoinHandle<u16> {
        let parameters = [("cuRefNo", MANAGER), ("query", filter)];
        let request = Request::get(uri(LIST, key, &parameters)).header(HOST, "localhost");
        let request = request.body(Body::empty()).unwrap();
        let response = self.service.router.clone().oneshot(request);
        tokio::spawn(async { response.await.unwrap().status().as_u16() })
    }

    /// The processes whose reads wait for the lock.
    async fn waiting(&mut self) -> Vec<i32> {
        let waiting = self.waits.now().await.into_iter().filter(LockWait::is_of_the_pool);
        waiting.map(|wait| wait.pid).collect()
    }

    async fn wait_until(&mut self, waiting: usize) -> Vec<i32> {
        loop {
            let pids = self.waiting().await;
            if pids.len() == waiting {
                return pids;
            }
        }
    }

    async fn release(&mut self) {
        sqlx::raw_sql("rollback").execute(&mut self.lock).await.unwrap();
    }
}

#[tokio::test]
async fn an_organisation_cannot_take_all_connections() {
    let mut blocked = Blocked::start(&["--database-max-connections", "8"]).await;
    let (_, other_key) = blocked.service.add_organisation("Other").await;
    let greedy: Vec<_> = (0..20).map(|_| blocked.list(&blocked.service.key)).collect();
    blocked.wait_until(4).await;

    // What needs no customer goes on: the connections are there.
    let service = &blocked.service;
    service.get(&uri("/ping/v1", &other_key, &[])).await.assert_success();
    service.get("/readyz").await.assert_success();
    let new_key = service.add_key(service.organisation, &[]).await;
    let answer = service.get(&uri("/nowhere", &new_key, &[])).await;
    answer.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    assert!(answer.headers.contains_key("x-ratelimit-limit"), "the key was looked up");
    let others: Vec<_> = (0..5).map(|_| blocked.list(&other_key)).collect();
    blocked.wait_until(6).await;

    blocked.release().await;
    join_all(greedy.into_iter().chain(others)).await;
    assert_eq!(blocked.list(&blocked.service.key).await.unwrap(), 200);
}

/// Not even when all connections of the pool are taken.
#[tokio::test]
async fn readiness_and_keys_need_no_connection_of_the_pool() {
    let mut blocked = Blocked::start(&["--database-max-connections", "1"]).await;
    let read = blocked.list(&blocked.service.key);
    blocked.wait_until(1).await;
    let service = &blocked.service;
    service.get("/readyz").await.assert_success();
    let new_key = service.add_key(service.organisation, &[]).await;
    let answer = service.get(&uri("/nowhere", &new_key, &[])).await;
    assert!(answer.headers.contains_key("x-ratelimit-limit"), "the key was looked up");
    blocked.release().await;
    assert_eq!(read.await.unwrap(), 200);
}

#[tokio::test]
async fn the_statement_of_a_client_that_has_left_is_ended() {
    let mut blocked = Blocked::start(&["--database-max-connections", "2"]).await;
    for _ in 0..3 {
        let read = blocked.list(&blocked.service.key);
        let pid = blocked.wait_until(1).await[0];
        let left = Instant::now();
        read.abort();
        // Long before the lock timeout of 3 s.
        while blocked.waiting().await.contains(&pid) {
            assert!(left.elapsed() < Duration::from_secs(2), "it goes on");
        }
    }
    blocked.release().await;
    let answer = blocked.service.get_from(LIST, &[("cuRefNo", CUSTOMER)]).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
}

#[tokio::test]
async fn a_filter_has_less_time_than_other_reads() {
    let mut blocked = Blocked::start(&[]).await;
    let mut list = blocked.list(&blocked.service.key);
    let filtered = blocked.filtered_list(&blocked.service.key, "novak");
    blocked.wait_until(2).await;
    tokio::select! {
        biased;
        _ = &mut list => panic!("the filter takes longer"),
        status = filtered => assert_eq!(status.unwrap(), 503),
    }
    blocked.release().await;
    assert_eq!(list.await.unwrap(), 200);
}

#[tokio::test]
async fn readiness_is_checked_once_for_many() {
    let service = Service::start().await;
    for answer in join_all((0..500).map(|_| service.get("/readyz"))).await {
        answer.assert_success();
    }
    let connections = "select count(*) from pg_stat_activity
                       where datname = current_database() and application_name = 'customer-match readiness'";
    let connections: i64 = sqlx::query_scalar(connections).fetch_one(&service.pool).await.unwrap();
    assert_eq!(connections, 1);
}
