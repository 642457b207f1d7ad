//! Outages of the database: 200, 503, and 200 again without a restart.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader};
use std::process::Child;

use axum::body::Body;
use axum::http::{Request, header};
use customer_match::db::{Layout, migration};
use futures_util::future::join_all;
use private_postgres::PrivatePostgres;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tower::ServiceExt;

use crate::support::binary::{Server, command, run_refused};
use crate::support::{
    Answer, CREATE, CUSTOMER, DETAIL, LIST, LOGOUT, LockWait, MAGIC_AUTH, MANAGER, Mode, Proxy, Service,
    Standby, TestDatabase, UNMATCH, json_request, kill, uri,
};

/// No bound but those of the database keeps a request from waiting, and whatever is lost of four connections, of which one
/// organisation gets two, is missed.
const ON_ITS_OWN: [&str; 4] = ["--request-timeout", "1h", "--database-max-connections", "4"];

/// A service that can be asked for everything.
struct Outage {
    service: Service,
    proxy: Proxy,
    identity: String,
    /// To be logged out.
    leaving: Vec<String>,
}

impl Outage {
    async fn prepare() -> Self {
        let (service, proxy) = Service::start_behind_a_proxy(&ON_ITS_OWN).await;
        service.add_customer("unmatched0000001", None).await;
        match_with(&service, "unmatched0000001").await.assert_success();
        let identity = service.log_in("jan@barasek.com").await;
        let leaving = vec![service.log_in("jan@barasek.com").await, service.log_in("jan@barasek.com").await];
        let mut outage = Self { service, proxy, identity, leaving };
        outage.assert_works().await;
        outage
    }

    async fn read(&self) -> Vec<Answer> {
        let service = &self.service;
        let identity = [("identityId", self.identity.as_str())];
        let (list, detail, ping, ready) = futures_util::join!(
            service.get_from(LIST, &identity),
            service.get_from(DETAIL, &identity),
            service.get_from("/ping/v1", &[]),
            service.get("/readyz"),
        );
        vec![list, detail, ping, ready]
    }

    async fn write(&self) -> Vec<Answer> {
        let unmatch = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": "unmatched0000001" });
        let calls = [
            (UNMATCH, unmatch),
            (CREATE, json!({ "email": "eva@example.com" })),
            (MAGIC_AUTH, json!({ "email": "eva@example.com" })),
            (LOGOUT, json!({ "identityId": self.leaving.last().unwrap() })),
        ];
        let (mut answers, matched) = futures_util::join!(
            join_all(calls.into_iter().map(|(path, body)| self.service.post_to(path, body))),
            match_with(&self.service, CUSTOMER),
        );
        answers.push(matched);
        answers
    }

    async fn everything(&self) -> Vec<Answer> {
        let (mut answers, more) = futures_util::join!(self.read(), self.write());
        answers.extend(more);
        answers
    }

    async fn assert_works(&mut self) {
        assert_statuses(&self.everything().await, 200);
        self.leaving.pop();
    }

    /// Past the proxy.
    async fn direct(&self) -> PgConnection {
        PgConnection::connect_with(&self.service.database.options()).await.unwrap()
    }
}

async fn match_with(service: &Service, customer: &str) -> Answer {
    service.post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": customer })).await
}

#[track_caller]
fn assert_statuses(answers: &[Answer], status: u16) {
    for answer in answers {
        assert_eq!(answer.status, status, "{answers:#?}");
    }
}

#[track_caller]
fn assert_unavailable(answers: &[Answer]) {
    for answer in answers {
        answer.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    }
}

#[tokio::test]
async fn it_goes_away_and_comes_back() {
    let mut outage = Outage::prepare().await;
    outage.proxy.set(Mode::Refuse);
    assert_unavailable(&outage.everything().await);
    outage.proxy.set(Mode::Pass);
    outage.assert_works().await;
}

#[tokio::test]
async fn it_has_no_connection_left() {
    let mut outage = Outage::prepare().await;
    outage.proxy.set(Mode::Full);
    assert_unavailable(&outage.everything().await);
    outage.proxy.set(Mode::Pass);
    outage.assert_works().await;
}

/// Also under what has been sent already, and one whose client does not wait for the end.
#[tokio::test]
async fn it_hangs_and_comes_back() {
    let mut outage = Outage::prepare().await;
    let mut lock = outage.direct().await;
    sqlx::raw_sql("begin; lock table customer").execute(&mut lock).await.unwrap();
    let call = |request: Request<Body>| tokio::spawn(outage.service.router.clone().oneshot(request));
    let read = || {
        let identity = [("identityId", outage.identity.as_str())];
        let read = Request::get(uri(DETAIL, &outage.service.key, &identity)).header("host", "localhost");
        call(read.body(Body::empty()).unwrap())
    };
    let write = || {
        let body = json!({ "email": "eva@example.com" }).to_string();
        call(json_request(&uri(CREATE, &outage.service.key, &[])).body(body.into()).unwrap())
    };
    let (waiting, leaving) = ([read(), write()], [read(), write()]);
    let mut waits = outage.service.database.lock_waits().await;
    while waits.now().await.into_iter().filter(LockWait::is_of_the_pool).count() < 2 {}
    let writes = match outage.service.database.layout() {
        Layout::Single => "match_writes_blocked",
        // The coordinator meets the lock before it delegates the batch, which is attempted again as a whole.
        Layout::Distributed => "match_queue_depth",
    };
    while outage.service.samples(&[writes]).await != [format!("customer_match_{writes} 2")] {
        tokio::task::yield_now().await;
    }
    outage.proxy.set(Mode::Swallow);
    for call in leaving {
        call.abort();
    }
    sqlx::raw_sql("rollback").execute(&mut lock).await.unwrap();

    assert_unavailable(&outage.everything().await);
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap().status(), 503);
    }
    outage.proxy.set(Mode::Pass);
    outage.assert_works().await;
}

/// To where its address leads now; the connections to where it led before say nothing any more.
#[tokio::test]
async fn it_fails_over_to_another_machine() {
    let mut outage = Outage::prepare().await;
    outage.proxy.fail_over();
    // Whoever finds out may be late, and is told so.
    let mut first = outage.read().await;
    first.push(match_with(&outage.service, CUSTOMER).await);
    assert!(first.iter().all(|answer| [200, 503].contains(&answer.status)), "{first:#?}");
    outage.assert_works().await;
}

/// To a standby that follows it, when it is killed under load: what was acknowledged is there.
#[tokio::test]
async fn it_fails_over_to_a_standby() {
    let first = PrivatePostgres::start_throw_away().await.unwrap();
    migration::run(&first.connect_options()).await.unwrap();
    let standby = Standby::of(&first.connect_options()).await;
    let (service, proxy) = Service::start_elsewhere(first.connect_options()).await;
    let (acknowledged, over) = (RefCell::new(Vec::new()), Cell::new(false));
    let client = async |client: usize| {
        for number in 0.. {
            if over.get() {
                break;
            }
            let email = format!("{client}-{number}@example.com");
            let body = json!({ "managerCuRefNo": MANAGER, "customerEmail": email });
            match service.post_match(body).await.status {
                200 => acknowledged.borrow_mut().push(email),
                status => assert_eq!(status, 503),
            }
        }
    };
    let operator = async {
        while acknowledged.borrow().len() < 50 {
            tokio::task::yield_now().await;
        }
        kill(&first.connect_options()).await.unwrap();
        // The process that serves a busy connection outlives its parent for a moment.
        while match_with(&service, CUSTOMER).await.status == 200 {}
        service.get("/readyz").await.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
        proxy.lead_to(standby.promote().await);
        while match_with(&service, CUSTOMER).await.status != 200 {}
        over.set(true);
    };
    futures_util::join!(operator, client(0), client(1), client(2), client(3));
    let matched = "select email from customer c
                   where exists (select from customer_match m where c.cu_ref_no in (m.low_cu_ref_no, m.high_cu_ref_no))";
    let matched: Vec<Option<String>> = sqlx::query_scalar(matched).fetch_all(&service.pool).await.unwrap();
    for email in acknowledged.into_inner() {
        assert!(matched.contains(&Some(email)), "an acknowledged match is missing");
    }
}

#[tokio::test]
async fn it_is_read_only() {
    let mut outage = Outage::prepare().await;
    let mut direct = outage.direct().await;
    let set = |value: &str| {
        format!(
            "do $$ begin execute format('alter database %I set default_transaction_read_only = {value}', current_database()); end $$"
        )
    };
    sqlx::raw_sql(&set("on")).execute(&mut direct).await.unwrap();
    let close_all = "select pg_terminate_backend(pid) from pg_stat_activity
                     where datname = current_database() and pid <> pg_backend_pid()";
    sqlx::raw_sql(close_all).execute(&mut direct).await.unwrap();
    assert_unavailable(&outage.write().await);
    assert_statuses(&outage.read().await, 200);

    // The connections that are open remain what they are.
    sqlx::raw_sql(&set("off")).execute(&mut direct).await.unwrap();
    outage.assert_works().await;
}

fn serve_on(proxy: &Proxy, database: &TestDatabase, flags: &[&str]) -> std::process::Command {
    let mut serve = command(&[&["serve", "--listen", "127.0.0.1:0"], flags].concat());
    serve.env("DATABASE_URL", crate::support::url(&proxy.options(database.options())));
    serve.env("CUSTOMER_MATCH_ALLOW_DATA_LOSS", "true");
    serve
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_waits_for_a_database_that_is_not_there_yet() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::before(database.options());
    proxy.set(Mode::Refuse);
    let mut child: Child = serve_on(&proxy, &database, &[]).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&event["level"], &event["message"]), (&json!("WARN"), &json!("waiting for the database")));
    proxy.set(Mode::Pass);
    let server = Server::adopt(child);
    assert_eq!(reqwest::get(format!("{}/readyz", server.url)).await.unwrap().status(), 200);
    server.stop();
}

#[test]
fn a_server_does_not_wait_for_ever() {
    let mut serve = command(&["serve", "--listen", "127.0.0.1:0", "--wait-for-database", "0s"]);
    serve.env("DATABASE_URL", "postgres://127.0.0.1:1/nothing");
    let said = run_refused(serve);
    assert!(said.starts_with("error: the database cannot be reached: "), "{said}");
}
