//! A pooler before the database: PgBouncer keeps sessions, or is rejected.

use std::io::{BufRead, BufReader};
use std::process::Command;

use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::binary::{Server, on, run, run_json, run_refused};
use crate::support::{LIST, MANAGER, MATCH, PgBouncer, Service, TestDatabase, url};

fn through(bouncer: &PgBouncer, database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = on(database, arguments);
    command.env("DATABASE_URL", url(&bouncer.options));
    command
}

#[tokio::test]
async fn in_session_mode_everything_works() {
    let database = TestDatabase::create_empty().await;
    let Some(bouncer) = PgBouncer::start(&database, "session").await else { return };
    let through = |arguments: &[&str]| through(&bouncer, &database, arguments);
    run(through(&["migrate"]));
    run(through(&["config", "check"]));
    run(through(&["organisation", "create", "Acme"]));
    let of_acme = ["--organisation", "1", "--format", "json"];
    let create_key = [&["key", "create", "--kind", "prod"], &of_acme[..]].concat();
    let key = run_json(through(&create_key))["apiKey"].as_str().unwrap().to_owned();
    run(through(&[&["customer", "create", "--cu-ref-no", MANAGER], &of_acme[..]].concat()));

    let server = Server::start(through(&["serve", "--listen", "127.0.0.1:0"]));
    let get = async |path: &str| {
        let response = reqwest::get(format!("{}{path}", server.url)).await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    assert_eq!(get("/readyz").await.0, 200);
    let uri = format!("{MATCH}?apiKey={key}");
    let matches = (0..100).map(|number| {
        let body =
            json!({ "managerCuRefNo": MANAGER, "customerEmail": format!("guest{number}@example.com") });
        server.post(&uri, body)
    });
    for answer in join_all(matches).await {
        assert_eq!(answer, (200, json!({ "success": true })));
    }
    let list = get(&format!("{LIST}?apiKey={key}&cuRefNo={MANAGER}")).await;
    assert_eq!((list.0, &list.1["itemCount"]), (200, &json!(100)));
    let [legacy, survivor] = [0, 1].map(|index| list.1["items"][index]["cuRefNo"].as_str().unwrap());
    let merge = ["customer", "merge", legacy, survivor, "--yes"];
    assert_eq!(run_json(through(&[&merge[..], &of_acme].concat()))["joined"], json!([MANAGER]));
    run(through(&["key", "revoke", "1"]));
    while get(&format!("/ping/v1?apiKey={key}")).await.0 != 404 {}
    server.stop();
}

/// By default it has 20 for a database and a user, and a server would open up to 28 connections under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_session_mode_the_pool_fits_into_its_sessions() {
    let service = Service::start().await;
    let Some(bouncer) = PgBouncer::start(&service.database, "session").await else { return };
    let server = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut server = through(&bouncer, &service.database, &server).spawn().unwrap();
    let log = BufReader::new(server.stderr.take().unwrap());
    let mut server = Server::adopt(server);
    let warning = log.lines().map(Result::unwrap).find(|line| line.contains("default_pool_size")).unwrap();
    let expected =
        "has 20 sessions for this server, which may use 30: the pool has 6 instead of 16 connections";
    assert!(warning.contains(expected), "{warning}");
    let admin = server.next_line();
    let (_, admin) = admin.split_once("on ").unwrap();
    let metrics = format!("{}/metrics", admin.split_once(": ").unwrap().0);
    let metrics = reqwest::get(metrics).await.unwrap();
    assert!(metrics.text().await.unwrap().contains("db_pool_max_connections 6\n"));

    let list = format!("{}{LIST}?apiKey={}&cuRefNo={MANAGER}", server.url, service.key);
    let lists = (0..200).map(|_| async { reqwest::get(&list).await.unwrap().status().as_u16() });
    let uri = format!("{MATCH}?apiKey={}", service.key);
    let matches = (0..200).map(|number| {
        let body =
            json!({ "managerCuRefNo": MANAGER, "customerEmail": format!("guest{number}@example.com") });
        server.post(&uri, body)
    });
    let (lists, matches) = futures_util::join!(join_all(lists), join_all(matches));
    assert_eq!(lists, [200; 200]);
    assert!(matches.iter().all(|(status, _)| *status == 200), "{matches:?}");
    server.stop();
}

/// Not by start-up options, which it drops or rejects.
#[tokio::test]
async fn in_session_mode_the_settings_of_sessions_hold() {
    let database = TestDatabase::create().await;
    let Some(bouncer) = PgBouncer::start(&database, "session").await else { return };
    let (service, _proxy) = Service::start_elsewhere(bouncer.options.clone()).await;
    let settings: Vec<String> = sqlx::query_scalar(
        "select name || ' ' || setting from pg_settings
         where name in ('statement_timeout', 'lock_timeout', 'default_transaction_isolation', 'application_name') order by name",
    )
    .fetch_all(&service.pool)
    .await
    .unwrap();
    let expected = [
        "application_name customer-match",
        "default_transaction_isolation read committed",
        "lock_timeout 3000",
        "statement_timeout 5000",
    ];
    assert_eq!(settings, expected);
}

#[rstest]
#[tokio::test]
async fn shared_sessions_are_an_error_of_one_sentence(#[values("transaction", "statement")] pool_mode: &str) {
    let database = TestDatabase::create_empty().await;
    let Some(bouncer) = PgBouncer::start(&database, pool_mode).await else { return };
    let commands: [&[&str]; 5] = [
        &["serve", "--listen", "127.0.0.1:0"],
        &["serve", "--listen", "127.0.0.1:0", "--migrate"],
        &["migrate"],
        &["config", "check"],
        &["organisation", "list"],
    ];
    for command in commands {
        let said = run_refused(through(&bouncer, &database, command));
        assert!(
            said.starts_with("error: a pooler before the database") && said.lines().count() == 1,
            "{said}"
        );
        assert!(said.contains("set pool_mode = session"), "{said}");
    }
    let tables: i64 =
        sqlx::query_scalar("select count(*) from pg_class where relnamespace = 'public'::regnamespace")
            .fetch_one(&mut database.connect().await)
            .await
            .unwrap();
    assert_eq!(tables, 0, "nothing was written");
}
