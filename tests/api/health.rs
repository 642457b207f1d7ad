//! Health checks.

use axum::body::Body;
use axum::http::{Request, header};
use rustix::process::Signal;
use serde_json::json;
use sqlx::ConnectOptions;
use tokio::net::TcpStream;

use crate::support::binary::{Server, command, on, run, run_json, run_refused};
use crate::support::{CUSTOMER, MANAGER, MATCH, Service, TestDatabase};

impl Service {
    /// Alive, but for this reason not ready for requests.
    async fn assert_not_ready(&self, reason: &str) {
        let answer = self.get("/readyz").await;
        answer.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
        assert_eq!(answer.body["error"]["description"], reason);
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
        self.get("/livez").await.assert_success();
    }
}

#[tokio::test]
async fn a_server_is_ready_until_it_drains() {
    let service = Service::start().await;
    service.get("/livez").await.assert_success();
    service.get("/readyz").await.assert_success();
    let head = Request::head("/livez").body(Body::empty()).unwrap();
    assert_eq!(service.call(head).await.status, 200);
    service.draining.cancel();
    service.assert_not_ready("The server is shutting down.").await;
}

#[tokio::test]
async fn without_its_database_a_server_is_not_ready() {
    let service = Service::start().await;
    service.lose_database().await;
    service.assert_not_ready("The database does not answer.").await;
}

#[tokio::test]
async fn with_migrations_pending_a_server_is_not_ready() {
    let service = Service::start().await;
    let newest = "where version = (select max(version) from _sqlx_migrations)";
    service.execute(&format!("update _sqlx_migrations set success = false {newest}")).await;
    service.assert_not_ready("Migrations are pending.").await;
    service.execute("alter table _sqlx_migrations rename to hidden").await;
    service.assert_not_ready("Migrations are pending.").await;
    service.execute("alter table hidden rename to _sqlx_migrations").await;
    service.execute(&format!("update _sqlx_migrations set success = true {newest}")).await;
    service.get("/readyz").await.assert_success();

    // A schema does not go back, so a current one is not checked again.
    service.execute("drop table _sqlx_migrations").await;
    service.get("/readyz").await.assert_success();
}

#[tokio::test]
async fn the_healthcheck_explains_why_a_server_is_not_ready() {
    let database = TestDatabase::create().await;
    let server = Server::start(on(&database, &["serve", "--listen", "127.0.0.1:0"]));
    let address = server.url.trim_start_matches("http://");
    let healthcheck = |more: &[&str]| command(&[&["healthcheck", "--listen", address], more].concat());
    let mut connection = database.options().connect().await.unwrap();
    sqlx::raw_sql("alter table _sqlx_migrations rename to hidden").execute(&mut connection).await.unwrap();
    assert_eq!(
        run_refused(healthcheck(&[])),
        format!("error: not ready: http://{address}/readyz answered 503: Migrations are pending.\n")
    );
    sqlx::raw_sql("alter table hidden rename to _sqlx_migrations").execute(&mut connection).await.unwrap();
    assert_eq!(run(healthcheck(&[])), "ready\n");
    assert_eq!(run_json(healthcheck(&["--format", "json"])), json!({ "ready": true }));
}

/// Reads are served, so requests are sent here.
#[tokio::test]
async fn a_read_only_database_is_told() {
    let service = Service::start().await;
    let mut direct = service.database.connect().await;
    let mut set = async |value: &str| {
        let setting =
            format!("alter database {} set default_transaction_read_only = {value}", service.database.name());
        sqlx::raw_sql(&setting).execute(&mut direct).await.unwrap();
    };
    set("on").await;
    let server = Server::start(on(&service.database, &["serve", "--listen", "127.0.0.1:0"]));
    let address = server.url.trim_start_matches("http://");
    let healthcheck = |more: &[&str]| command(&[&["healthcheck", "--listen", address], more].concat());
    service.get("/livez").await.assert_success();
    let ready = service.get("/readyz").await;
    assert_eq!((ready.status, ready.body), (200, json!({ "success": true, "readOnly": true })));
    assert_eq!(service.samples(&["database_read_only"]).await, ["customer_match_database_read_only 1"]);
    assert_eq!(run(healthcheck(&[])), "ready; the database is read-only\n");
    assert_eq!(run_json(healthcheck(&["--format", "json"])), json!({ "ready": true, "readOnly": true }));

    set("off").await;
    service.get("/readyz").await.assert_success();
    assert_eq!(service.samples(&["database_read_only"]).await, ["customer_match_database_read_only 0"]);
    assert_eq!(run(healthcheck(&[])), "ready\n");
}

/// A server that is full is healthy: a restart would only break the connections of those that it serves.
#[tokio::test]
async fn probes_on_the_admin_listener_are_answered_when_clients_have_all_connections() {
    let database = TestDatabase::create().await;
    let flags = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--max-connections", "2"];
    let mut server = Server::start(on(&database, &[&["serve"], &flags[..]].concat()));
    let admin = server.admin_address();
    let address = server.url.trim_start_matches("http://");
    let clients = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    assert!(reqwest::get(format!("{}/readyz", server.url)).await.is_err());
    for path in ["/livez", "/readyz"] {
        assert_eq!(reqwest::get(format!("http://{admin}{path}")).await.unwrap().status(), 200);
    }
    let healthcheck = |more: &[&str]| command(&[&["healthcheck", "--listen", address], more].concat());
    assert_eq!(run(healthcheck(&["--admin-listen", &admin])), "ready\n");
    run_refused(healthcheck(&[]));
    drop(clients);
}

/// What waits for the end of a server sees it until the last request is answered.
#[tokio::test]
async fn the_admin_listener_answers_until_the_last_request_is_answered() {
    let service = Service::start().await;
    let mut server = Server::start(on(
        &service.database,
        &["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
    ));
    let admin = server.admin_address();
    let mut lock = service.pool.begin().await.unwrap();
    sqlx::query("lock table customer_match").execute(&mut *lock).await.unwrap();
    let request = reqwest::Client::new()
        .post(format!("{}{MATCH}?apiKey={}", server.url, service.key))
        .json(&json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }));
    let in_flight = tokio::spawn(async { request.send().await.unwrap().status() });
    let metrics =
        async || reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    while !metrics().await.contains("customer_match_http_requests_in_flight 1") {}
    server.signal(Signal::TERM);
    while reqwest::get(format!("http://{admin}/readyz")).await.unwrap().status() != 503 {}
    assert_eq!(reqwest::get(format!("http://{admin}/livez")).await.unwrap().status(), 200);
    lock.rollback().await.unwrap();
    assert_eq!(in_flight.await.unwrap(), 200);
    assert!(server.wait().success());
}
