//! The binary as it is started from a shell.

use clap::CommandFactory;
use customer_match::cli::Cli;
use customer_match::demo;
use customer_match::domain::ApiKey;
use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::support::binary::{Server, command, on, run, run_both, run_json, run_refused};
use crate::support::{CUSTOMER, MANAGER, MATCH, Service, TestDatabase, skip};

fn serve_on(database: &TestDatabase, arguments: &[&str]) -> std::process::Command {
    on(database, &[&["serve", "--listen", "127.0.0.1:0"], arguments].concat())
}

/// A directory that an unprivileged Postgres can reach.
fn data_dir() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

#[tokio::test]
async fn from_nothing_to_the_printed_call_and_its_row() {
    let dir = data_dir();
    let data = dir.path().join("data");
    let mut server = Server::start_on(&data);
    let printed = server.printed_curl();
    assert!(printed.starts_with(&format!("curl -X POST \"{}{MATCH}?apiKey=PROD", server.url)), "{printed}");
    let answer = std::process::Command::new("sh").args(["-c", &printed]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout), r#"{"success":true}"#);

    // What was acknowledged is there after kill -9, in the same directory.
    server.signal(Signal::KILL);
    server.wait();
    let mut server = Server::start_on(&data);
    let detail = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    let key = "PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE";
    assert_eq!(server.post(&format!("{MATCH}?apiKey={key}"), detail).await.0, 200);

    // One-off subcommands work beside the server, and a second server does not.
    let data = data.to_str().unwrap();
    let organisations = run_json(command(&["organisation", "list", "--data-dir", data, "--format", "json"]));
    assert_eq!(organisations, json!([{ "id": 1, "name": "Demo" }]));
    let refused = run_refused(command(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data]));
    assert_eq!(refused.lines().last().unwrap().split(' ').next(), Some("error:"), "{refused}");

    server.signal(Signal::TERM);
    assert!(server.wait().success());
    let rows = run(command(&["organisation", "list", "--data-dir", data]));
    assert!(rows.contains("Demo"), "and without the server too: {rows}");
}

/// Several times, because the connections of the server end at the same time as Postgres.
#[test]
fn a_stop_of_the_private_postgres_is_no_warning() {
    let dir = data_dir();
    let data = dir.path().join("data");
    for _ in 0..4 {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command =
            command(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
        command.stderr(log.reopen().unwrap());
        Server::start(command).stop();
        let log = std::fs::read_to_string(log.path()).unwrap();
        let (_, stop) = log.split_once("shutting down").unwrap();
        assert!(!stop.contains("WARN") && !stop.contains("ERROR"), "{log}");
    }
}

#[tokio::test]
async fn no_demo_rejects_the_sample_key() {
    let dir = data_dir();
    let data = dir.path().join("data");
    let arguments = ["--listen", "127.0.0.1:0", "--no-demo", "--data-dir", data.to_str().unwrap()];
    let mut command = command(&arguments);
    command.env("DATABASE_URL", "");
    let server = Server::start(command);
    let uri = format!("{MATCH}?apiKey=PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE");
    let (status, body) = server.post(&uri, json!({})).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("PUBLIC_API_KEY_SAMPLE_VALUE")));
}

#[tokio::test]
async fn a_given_database_is_migrated_only_on_request() {
    let database = TestDatabase::create_empty().await;
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["organisation", "list"]] {
        let refused = run_refused(on(&database, arguments));
        assert!(refused.contains("customer-match migrate"), "{refused}");
    }
    // On many machines at once.
    let servers: Vec<_> = (0..3)
        .map(|_| {
            let command = serve_on(&database, &["--migrate"]);
            std::thread::spawn(move || Server::start(command))
        })
        .collect();
    for server in servers {
        let server = server.join().unwrap();
        let ready = reqwest::get(format!("{}/readyz", server.url)).await.unwrap();
        assert_eq!(ready.status(), 200);
    }
    assert_eq!(run_json(on(&database, &["organisation", "list", "--format", "json"])), json!([]), "no demo");
    assert!(run_refused(serve_on(&database, &["--demo"])).contains("--demo"));
}

#[tokio::test]
async fn an_operator_creates_what_a_call_needs() {
    let database = TestDatabase::create_empty().await;
    run(on(&database, &["migrate"]));
    let json = ["--format", "json"];
    let json_of = |arguments: &[&str]| run_json(on(&database, &[arguments, &json[..]].concat()));

    let organisation = json_of(&["organisation", "create", "Acme"]);
    assert_eq!(organisation, json!({ "id": 1, "name": "Acme" }));
    let manager = json_of(&["customer", "create", "--organisation", "1", "--first-name", "Eva"]);
    let manager = manager["cuRefNo"].as_str().unwrap();
    let customer = json_of(&[
        "customer",
        "create",
        "--organisation",
        "1",
        "--cu-ref-no",
        CUSTOMER,
        "--email",
        "Jan@Barasek.com",
    ]);
    assert_eq!(customer, json!({ "cuRefNo": CUSTOMER, "email": "jan@barasek.com" }));
    let key =
        json_of(&["key", "create", "--organisation", "1", "--kind", "prod", "--scope", "customer.match"]);
    assert_eq!((&key["id"], &key["kind"]), (&json!(1), &json!("prod")));
    assert!(key["expiresAt"].as_str().unwrap().ends_with('Z'));

    let server = Server::start(serve_on(&database, &[]));
    let uri = format!("{MATCH}?apiKey={}", key["apiKey"].as_str().unwrap());
    let call = json!({ "managerCuRefNo": manager, "customerEmail": "jan@barasek.com" });
    assert_eq!(server.post(&uri, call.clone()).await, (200, json!({ "success": true })));

    let listed = run(on(&database, &["key", "list", "--organisation", "1"]));
    assert!(
        listed.contains("customer.match") && !listed.contains(key["apiKey"].as_str().unwrap()),
        "{listed}"
    );
    let listed = json_of(&["key", "list", "--organisation", "1"]);
    assert_eq!(listed[0]["state"], "active");
    run(on(&database, &["key", "revoke", "1"]));
    let revoked = std::time::Instant::now();
    let mut answer = server.post(&uri, call.clone()).await;
    while answer.0 == 200 && revoked.elapsed() < std::time::Duration::from_secs(1) {
        answer = server.post(&uri, call.clone()).await;
    }
    assert_eq!(answer.1["error"]["code"], "PUBLIC_API_KEY_HAS_BEEN_DELETED");
}

#[tokio::test]
async fn keys_are_listed_with_their_state() {
    let service = Service::start().await;
    let create = |more: &[&str]| {
        let arguments = ["key", "create", "--organisation", "1", "--kind", "dev"];
        on(&service.database, &[&arguments, more].concat())
    };
    let (_, sentence) = run_both(create(&["--never-expires", "--limit-per-minute", "7"]));
    assert_eq!(sentence, "Key 2, never expires. It cannot be printed again: store it now.\n");
    let (_, sentence) = run_both(create(&["--expires-in-days", "2"]));
    assert!(sentence.starts_with("Key 3, expires 20"), "{sentence}");
    let refused = run_refused(create(&["--never-expires", "--expires-in-days", "2"]));
    assert!(refused.contains("contradict each other"), "{refused}");
    let refused = run_refused(create(&["--scope", "Customer.*"]));
    assert!(refused.contains("--scope"), "{refused}");

    run(create(&[]));
    run(on(&service.database, &["key", "revoke", "1"]));
    service.execute("update api_key set active = false where id = 2").await;
    service.execute("update api_key set expires_at = now() where id = 3").await;
    let listed = run_json(on(&service.database, &["key", "list", "--organisation", "1", "--format", "json"]));
    let states: Vec<_> =
        listed.as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["revoked", "inactive", "expired", "active"]);
}

/// So that `KEY=$(customer-match key create …)` holds the key and nothing else.
#[tokio::test]
async fn what_is_created_stands_alone_on_stdout() {
    let database = TestDatabase::create().await;
    let organisation = run_both(on(&database, &["organisation", "create", "Acme"]));
    assert_eq!(organisation, ("1\n".into(), "Organisation 1 \"Acme\" created.\n".into()));
    let create = ["customer", "create", "--organisation", "1", "--cu-ref-no", CUSTOMER];
    let customer = run_both(on(&database, &create));
    assert_eq!(customer, (format!("{CUSTOMER}\n"), format!("Customer {CUSTOMER} created.\n")));
    let create = ["key", "create", "--organisation", "1", "--kind", "prod"];
    let (key, sentence) = run_both(on(&database, &create));
    assert!(ApiKey::parse(key.trim_end_matches('\n')).is_ok(), "{key}");
    assert!(sentence.starts_with("Key 1, expires 20") && sentence.lines().count() == 1, "{sentence}");
    let (json, sentence) = run_both(on(&database, &[&create[..], &["--format", "json"]].concat()));
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["id"], 2);
    assert_eq!(sentence, "");
}

/// The name would be taken for the demo's, and the publicly known key would open its data.
#[tokio::test]
async fn an_organisation_named_demo_is_not_changed() {
    let service = Service::start().await;
    service.add_organisation("Demo").await;
    let error = demo::set_up(&service.pool).await.unwrap_err();
    assert!(error.to_string().contains("--no-demo"), "{error}");
    assert_eq!(service.count("api_key").await, 1);
}

#[tokio::test]
async fn errors_are_one_line() {
    let database = TestDatabase::create().await;
    run(on(&database, &["organisation", "create", "Acme"]));
    run(on(
        &database,
        &["customer", "create", "--organisation", "1", "--cu-ref-no", CUSTOMER, "--email", "a@b.co"],
    ));
    let mistakes: [&[&str]; 9] = [
        &["organisation", "create", "Acme"],
        &["key", "create", "--organisation", "99", "--kind", "prod"],
        &["key", "list", "--organisation", "99"],
        &["key", "revoke", "99"],
        &["key", "set-limit", "99"],
        &["customer", "create", "--organisation", "99"],
        &["customer", "create", "--organisation", "1", "--cu-ref-no", CUSTOMER],
        &["customer", "create", "--organisation", "1", "--email", "A@b.co"],
        &["serve", "--database-url", "nonsense"],
    ];
    let errors = mistakes.map(|arguments| run_refused(on(&database, arguments)));
    insta::assert_json_snapshot!(errors, @r#"
    [
      "error: an organisation named \"Acme\" exists already\n",
      "error: there is no organisation 99: `customer-match organisation list` shows which there are\n",
      "error: there is no organisation 99: `customer-match organisation list` shows which there are\n",
      "error: there is no key 99: `customer-match key list` shows those of an organisation\n",
      "error: there is no key 99: `customer-match key list` shows those of an organisation\n",
      "error: there is no organisation 99: `customer-match organisation list` shows which there are\n",
      "error: organisation 1 has a customer 5CmsaVNgAQqRqoen already\n",
      "error: organisation 1 has a customer with the e-mail address a@b.co already\n",
      "error: the database URL is not of the form postgres://USER:PASSWORD@HOST/DATABASE\n"
    ]
    "#);
}

#[test]
fn an_error_says_its_cause_once() {
    let key = ["key", "create", "--organisation", "1", "--kind", "prod"];
    let unreachable: [&[&str]; 8] = [
        &["serve", "--listen", "127.0.0.1:0", "--wait-for-database", "0s"],
        &["config", "check"],
        &["migrate"],
        &["organisation", "list"],
        &key,
        &["customer", "create", "--organisation", "1"],
        &["customer", "merge", CUSTOMER, MANAGER, "--organisation", "1", "--dry-run"],
        &["healthcheck", "--listen", "127.0.0.1:1"],
    ];
    for arguments in unreachable {
        let mut command = command(arguments);
        command.env("DATABASE_URL", "postgres://127.0.0.1:1/nothing");
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(said.matches("Connection refused").count(), 1, "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// The log of a one-shot subcommand is for its operator, also in a pipe.
#[tokio::test]
async fn a_subcommand_logs_sentences() {
    let service = Service::start().await;
    if skip("command_line::a_subcommand_logs_sentences", &service.database) {
        return;
    }
    service
        .execute(
            "create function fail() returns trigger language plpgsql
                 as $$ begin raise exception 'a lost race' using errcode = '40001'; end $$;
             create trigger fail before update on customer execute function fail()",
        )
        .await;
    let reason = ["--organisation", "1", "--reason", "test", "--yes"];
    let said = run_refused(on(&service.database, &[&["customer", "delete", CUSTOMER], &reason[..]].concat()));
    let (log, error) = said.trim_end().rsplit_once('\n').unwrap();
    assert!(log.lines().all(|line| line.contains(" WARN retrying a write error=")), "{said}");
    assert_eq!(error, "error: error returned from database: a lost race");
}

/// clap's own usage of an error has every option that has a value as if it were required.
#[test]
fn the_usage_of_an_error_is_that_of_the_help() {
    fn commands(command: &clap::Command, path: Vec<String>) -> Vec<Vec<String>> {
        let subcommands = command.get_subcommands().flat_map(|subcommand| {
            commands(subcommand, [&path[..], &[subcommand.get_name().to_owned()]].concat())
        });
        [path.clone()].into_iter().chain(subcommands).collect()
    }
    fn usage(path: &[String], flag: &str) -> String {
        let arguments: Vec<_> = path.iter().map(String::as_str).chain([flag]).collect();
        let mut command = command(&arguments);
        command.envs([("CUSTOMER_MATCH_DATA_DIR", "/data"), ("CUSTOMER_MATCH_ORGANISATION", "1")]);
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let usage = text.lines().skip_while(|line| !line.starts_with("Usage: "));
        usage.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    }
    for path in commands(&Cli::command(), Vec::new()) {
        let expected = usage(&path, "--help");
        let name = [&["customer-match".to_owned()], &path[..]].concat().join(" ");
        assert!(expected.starts_with(&format!("Usage: {name}")), "{expected}");
        assert_eq!(usage(&path, "--no-such-flag"), expected);
    }
}

#[test]
fn the_version_names_the_commit() {
    let version = run(command(&["--version"]));
    let commit =
        version.trim_end().strip_prefix("customer-match 0.1.0 (").and_then(|rest| rest.strip_suffix(')'));
    let commit = commit.unwrap_or_else(|| panic!("{version}"));
    assert!(commit == "unknown" || commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{version}");
}

#[test]
fn an_unknown_scope_is_an_error_that_lists_the_scopes() {
    let create = ["key", "create", "--organisation", "1", "--kind", "prod", "--scope", "bogus"];
    let refused = run_refused(command(&create));
    assert!(
        refused.contains("'bogus'")
            && refused.contains(
                "[possible values: customer.match, customer.read, customer.write, customer.session]"
            ),
        "{refused}"
    );
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_shutdown() {
    let database = TestDatabase::create().await;
    let mut server = Server::start(serve_on(&database, &[]));
    let client = Client::new();
    assert_eq!(client.get(format!("{}/livez", server.url)).send().await.unwrap().status(), 200);
    let address = server.url.trim_start_matches("http://").to_owned();
    assert_eq!(run(command(&["healthcheck", "--listen", &address])), "ready\n");

    server.signal(Signal::TERM);
    assert!(server.wait().success());
    drop(client);
    assert!(run_refused(command(&["healthcheck", "--listen", &address])).contains("no response"));
}

/// A pipe whose reader is closed.
fn broken_pipe() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

#[tokio::test]
async fn a_closed_stderr_does_not_stop_the_server() {
    let database = TestDatabase::create().await;
    let mut command = serve_on(&database, &[]);
    command.stderr(broken_pipe());
    let mut server = Server::start(command);
    for _ in 0..2 {
        let (status, body) = server.post(MATCH, json!({})).await;
        assert_eq!((status, &body["error"]["code"]), (404, &json!("PUBLIC_API_KEY_IS_EMPTY")));
    }
    server.signal(Signal::TERM);
    assert!(server.wait().success());
}

#[tokio::test]
async fn a_result_that_cannot_be_printed_is_an_error() {
    let database = TestDatabase::create().await;
    let mut command = on(&database, &["organisation", "create", "Acme"]);
    command.stdout(broken_pipe());
    let refused = run_refused(command);
    assert!(refused.starts_with("error: done, but the result could not be printed"), "{refused}");
}

#[tokio::test]
async fn a_signal_ends_a_waiting_start() {
    let database = TestDatabase::create_empty().await;
    let mut other = PgConnection::connect_with(&database.options()).await.unwrap();
    // The lock of a server that migrates.
    sqlx::query("select pg_advisory_lock(x'637573746f6d6572'::int8)").execute(&mut other).await.unwrap();
    let mut child = serve_on(&database, &["--migrate"]).spawn().unwrap();
    let waits = "select exists (select from pg_stat_activity
                 where datname = current_database() and query like '%pg_try_advisory_lock%' and pid <> pg_backend_pid())";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut other).await.unwrap() {}
    let id = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}
