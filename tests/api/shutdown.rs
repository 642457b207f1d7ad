//! Shutdown: every request that the server has received is answered.

use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;
use reqwest::Client;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;

use crate::support::binary::{Server, on};
use crate::support::{CUSTOMER, LockWait, MANAGER, MATCH, Service};

fn start(service: &Service) -> Server {
    Server::start(on(&service.database, &["serve", "--listen", "127.0.0.1:0"]))
}

fn uri(server: &Server, service: &Service) -> String {
    format!("{}{MATCH}?apiKey={}", server.url, service.key)
}

fn post(client: &Client, uri: &str, body: Value) -> JoinHandle<reqwest::Result<u16>> {
    let request = client.post(uri).json(&body).send();
    tokio::spawn(async move { Ok(request.await?.status().as_u16()) })
}

/// A match that is in flight for as long as the returned connection holds its lock.
async fn match_in_flight(
    server: &Server,
    service: &Service,
) -> (PgConnection, JoinHandle<reqwest::Result<u16>>) {
    let mut lock = PgConnection::connect_with(&service.database.options()).await.unwrap();
    sqlx::raw_sql("begin; lock table customer_match").execute(&mut lock).await.unwrap();
    let body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    let call = post(&Client::new(), &uri(server, service), body);
    service.database.lock_waits().await.until(LockWait::is_of_a_writer).await;
    (lock, call)
}

async fn until_the_listener_is_closed(server: &Server) {
    while reqwest::get(format!("{}/livez", server.url)).await.is_ok() {}
}

#[tokio::test]
async fn requests_in_flight_are_answered() {
    let service = Service::start().await;
    let mut server = start(&service);
    let (lock, call) = match_in_flight(&server, &service).await;
    server.signal(Signal::TERM);
    until_the_listener_is_closed(&server).await;
    lock.close().await.unwrap();
    assert_eq!(call.await.unwrap().unwrap(), 200);
    assert!(server.wait().success());
}

#[tokio::test]
async fn a_request_on_its_way_on_an_idle_connection_is_answered() {
    let service = Service::start().await;
    let mut server = start(&service);
    let client = Client::new();
    let body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    let call = async || client.post(uri(&server, &service)).json(&body).send().await.unwrap();
    assert!(!call().await.headers().contains_key("connection"));
    server.signal(Signal::TERM);
    until_the_listener_is_closed(&server).await;
    // On the open connection, as the listener is closed.
    let last = call().await;
    assert_eq!(last.status(), 200);
    assert_eq!(last.headers()["connection"], "close");
    assert!(server.wait().success());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let service = Service::start().await;
    let mut server = start(&service);
    let (_lock, call) = match_in_flight(&server, &service).await;
    server.signal(Signal::INT);
    until_the_listener_is_closed(&server).await;
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(130));
    assert!(call.await.unwrap().is_err());
}

/// By default that signal ends a process at once. With TLS it renews the certificate (`tls.rs`).
#[tokio::test]
async fn without_a_certificate_sighup_is_only_logged() {
    let service = Service::start().await;
    let mut child = on(&service.database, &["serve", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let server = Server::adopt(child);
    let (lock, call) = match_in_flight(&server, &service).await;
    server.signal(Signal::HUP);
    let logged = tokio::task::spawn_blocking(move || {
        log.lines().map(Result::unwrap).find(|line| line.contains("SIGHUP: there is nothing to read again"))
    });
    assert!(logged.await.unwrap().is_some());
    lock.close().await.unwrap();
    assert_eq!(call.await.unwrap().unwrap(), 200);
    server.stop();
}

/// Each match creates a relation of its own: a match without an answer would show as one relation more than answers.
#[tokio::test]
async fn under_load_no_match_is_made_without_an_answer() {
    const CLIENTS: u32 = 16;
    let service = Service::start().await;
    let mut server = start(&service);
    let uri = uri(&server, &service);
    let answered = Arc::new(AtomicU32::new(0));
    let clients = (0..CLIENTS).map(|client| {
        let (uri, answered) = (uri.clone(), Arc::clone(&answered));
        tokio::spawn(async move {
            let connections = Client::new();
            for number in 0.. {
                let email = format!("guest{number}@client{client}.example");
                let body = json!({ "managerCuRefNo": MANAGER, "customerEmail": email });
                // The first that the server does not accept any more.
                let Ok(status) = post(&connections, &uri, body).await.unwrap() else { return };
                assert_eq!(status, 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    while answered.load(Ordering::Relaxed) < 20 * CLIENTS {
        tokio::task::yield_now().await;
    }
    server.signal(Signal::TERM);
    for client in join_all(clients).await {
        client.unwrap();
    }
    assert!(server.wait().success());
    let relations = service.count("customer_match").await;
    assert_eq!(relations, i64::from(answered.load(Ordering::Relaxed)));
}
