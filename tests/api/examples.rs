//! The client examples, as they are printed, against the real router. What a machine has no tool for is skipped, and said so.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::io::{Write, stderr};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use customer_match::db::api_key::{self, NewKey};
use customer_match::domain::{ApiKey, KeyKind};
use customer_match::error::ApiError;
use http_body_util::BodyExt;
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::{CUSTOMER, MANAGER, NDJSON, Service, UNMATCH};

const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Timers of some platforms are a little early.
const EARLIEST: Duration = Duration::from_millis(950);

/// Counts calls, and is busy at the first one and at any that does not wait as long as it was told then.
#[derive(Default)]
struct Front {
    calls: AtomicUsize,
    refused: OnceLock<Instant>,
}

impl Front {
    async fn handle(State(front): State<Arc<Self>>, request: Request, next: Next) -> Response {
        let preflight = request.method() == Method::OPTIONS;
        let mut response = next.run(request).await;
        if !preflight {
            front.calls.fetch_add(1, Ordering::Relaxed);
            if front.refused.get_or_init(Instant::now).elapsed() < EARLIEST {
                // The headers for browsers are kept.
                let (refusal, body) = ApiError::too_many_requests(RETRY_AFTER).into_response().into_parts();
                *response.status_mut() = refusal.status;
                *response.body_mut() = body;
                response.headers_mut().remove(header::CONTENT_LENGTH);
                response.headers_mut().extend(refusal.headers);
            }
        }
        response
    }
}

/// A service behind such a front, on a port of its own.
async fn serve() -> (Service, Arc<Front>, String) {
    let service = Service::start().await;
    let front = Arc::<Front>::default();
    let router = service.router.clone().layer(from_fn_with_state(front.clone(), Front::handle));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    (service, front, url)
}

fn example(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "examples", file].iter().collect()
}

/// Whether the machine can do it. The harness shows the output of tests that fail only, so this goes past it.
fn is_there(tool: impl AsRef<OsStr>) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let there = env::split_paths(&path).any(|folder| folder.join(tool.as_ref()).exists());
    if !there {
        let _ = writeln!(stderr(), "skipped an example: there is no {}", tool.as_ref().display());
    }
    there
}

#[rstest]
#[case::curl("curl", &["sh", "curl.sh"])]
#[case::node("node", &["node", "node.mjs"])]
#[case::python("python3", &["python3", "python.py"])]
#[case::php("php", &["php", "php.php"])]
#[case::rust("rust", &[])]
#[tokio::test]
async fn works_as_printed(#[case] tool: &str, #[case] command: &[&str]) {
    let mut program: Vec<PathBuf> = match command {
        [interpreter, file] => vec![interpreter.into(), example(file)],
        // Cargo builds it beside the tests.
        _ => vec![env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join(tool)],
    };
    if !is_there(if command.is_empty() { program[0].as_os_str() } else { tool.as_ref() }) {
        return;
    }
    let arguments = program.split_off(1);
    let (service, front, url) = serve().await;
    let run = async |key: &str, pair: &[&str]| -> Output {
        let mut command = Command::new(&program[0]);
        command.args(&arguments).args(pair).env_clear().env("PATH", env::var_os("PATH").unwrap());
        command.env("CUSTOMER_MATCH_URL", &url).env("CUSTOMER_MATCH_KEY", key).stdin(Stdio::null());
        command.output().await.unwrap()
    };

    let matched = run(&service.key, &[]).await;
    assert!(matched.status.success(), "{matched:?}");
    assert!(String::from_utf8_lossy(&matched.stdout).starts_with("matched: {"), "{matched:?}");
    assert_eq!(front.calls.load(Ordering::Relaxed), 2, "it waits as long as it is told, no more than once");
    assert_eq!(service.relations().await.len(), 1);

    let unknown = run(&service.key, &[MANAGER, "0000000000000000"]).await;
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(said.contains("INTERNAL_RESOURCE_NOT_FOUND") && said.contains("does not exist"), "{said}");

    let invalid = run(&service.key, &[MANAGER, "x"]).await;
    assert!(String::from_utf8_lossy(&invalid.stderr).contains("INTERNAL_VALIDATION_FAILED"), "{invalid:?}");

    let refused = run("PROD0000000000000000000000000000", &[MANAGER, CUSTOMER]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("PUBLIC_API_KEY_DOES_NOT_EXIST"),
        "{refused:?}"
    );
}

/// The call that is rejected first is made again; then the summary comes.
#[tokio::test]
async fn a_file_is_sent_as_a_stream() {
    if !is_there("curl") {
        return;
    }
    let (service, front, url) = serve().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let relation = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    write!(file, "{relation}\n{{}}\n{relation}\n").unwrap();
    let run = async |key: &str| -> Output {
        let mut command = Command::new("sh");
        command.arg(example("batch.sh")).arg(file.path()).stdin(Stdio::null());
        command.env("CUSTOMER_MATCH_URL", &url).env("CUSTOMER_MATCH_KEY", key).output().await.unwrap()
    };
    let sent = run(&service.key).await;
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(front.calls.load(Ordering::Relaxed), 2);
    let printed = String::from_utf8_lossy(&sent.stdout);
    assert!(
        printed.starts_with(r#"written: {"lines":3,"#) && printed.contains(r#""rejected":1}"#),
        "{printed}"
    );
    assert!(String::from_utf8_lossy(&sent.stderr).starts_with(r#"{"line":2,"error":{"#), "{sent:?}");
    assert_eq!(service.relations().await.len(), 1);

    let rejected = run("PROD0000000000000000000000000000").await;
    assert_eq!(rejected.status.code(), Some(1), "{rejected:?}");
    assert!(String::from_utf8_lossy(&rejected.stderr).contains("PUBLIC_API_KEY_DOES_NOT_EXIST"));
}

/// The last line of an answer without a summary names the line to go on from.
#[tokio::test]
async fn a_stream_that_was_cut_goes_on_from_its_line() {
    if !is_there("curl") {
        return;
    }
    let service = Service::start().await;
    let cut = Arc::new(AtomicUsize::new(0));
    let router = service.router.clone().layer(from_fn_with_state(cut, cut_once));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for number in 1..=5 {
        let relation =
            json!({ "managerCuRefNo": MANAGER, "customerEmail": format!("guest{number}@example.com") });
        writeln!(file, "{relation}").unwrap();
    }
    let mut command = Command::new("sh");
    command.arg(example("batch.sh")).arg(file.path()).stdin(Stdio::null());
    command.env("CUSTOMER_MATCH_URL", &url).env("CUSTOMER_MATCH_KEY", &service.key);
    let sent = command.output().await.unwrap();
    let printed = String::from_utf8_lossy(&sent.stdout);
    assert!(printed.starts_with(r#"written: {"lines":3,"created":3,"#), "{sent:?}");
    assert_eq!(service.relations().await.len(), 3, "of the first two the server said that they were written");
}

/// Answers the first call as a server that stops after the second line.
async fn cut_once(State(calls): State<Arc<AtomicUsize>>, request: Request, next: Next) -> Response {
    if calls.fetch_add(1, Ordering::Relaxed) > 0 {
        return next.run(request).await;
    }
    request.into_body().collect().await.unwrap();
    let last = r#"{"line":3,"error":{"code":"INTERNAL_SERVICE_UNAVAILABLE"},"retryAfter":1}"#;
    ([(header::CONTENT_TYPE, NDJSON)], format!("{last}\n")).into_response()
}

/// Until the page says this on its console.
async fn open_in_a_browser(page: &str, expected: &str) {
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(browser.stderr.take().unwrap()).lines();
    let mut log = String::new();
    while !log.contains(expected) {
        log += &lines.next_line().await.unwrap().unwrap_or_else(|| panic!("the browser ended: {log}"));
    }
    browser.kill().await.unwrap();
}

/// The page with its publishable key on an origin that the key allows, and on another one.
#[tokio::test]
async fn fetch_works_in_a_page_of_an_allowed_origin() {
    if !is_there("chromium") {
        return;
    }
    let (service, front, url) = serve().await;
    let html = std::fs::read_to_string(example("fetch.html")).unwrap();
    let pages = Router::new().route("/", get(async || Html(html)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async { axum::serve(listener, pages).await });
    let key = ApiKey::generate(KeyKind::Prod);
    let new = NewKey {
        scopes: &["customer.match".into()],
        allowed_origins: &[format!("http://127.0.0.1:{port}")],
        client_limit_per_minute: Some(60),
        ..Default::default()
    };
    api_key::create(&service.pool, service.organisation, &key, &new).await.unwrap().unwrap();
    let page = |host: &str| format!("http://{host}:{port}/?server={url}&key={}", key.expose());

    open_in_a_browser(&page("localhost"), "no answer from").await;
    assert_eq!(service.relations().await.len(), 0);
    let calls = front.calls.load(Ordering::Relaxed);
    open_in_a_browser(&page("127.0.0.1"), "matched: {").await;
    assert_eq!(service.relations().await.len(), 1);
    assert!(front.calls.load(Ordering::Relaxed) > calls);
}

/// A statement about the file of `sync.py`; prints the rows that it returns.
const SQLITE: &str = "import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=60) as db:
    for row in db.execute(sys.argv[2]):
        print(*row, sep='')";

/// It is killed while it imports customers, while it imports relations, and while it follows the changes of both sides.
#[tokio::test(flavor = "multi_thread")]
async fn sync_goes_on_after_it_was_killed_until_both_sides_are_equal() {
    if !is_there("python3") {
        return;
    }
    let (service, _, url) = serve().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sync.sqlite");
    let sync = |more: &[&str]| {
        let mut command = Command::new("python3");
        command
            .arg(example("sync.py"))
            .arg(&file)
            .args(["--customers", "300", "--relations", "3000"])
            .args(more);
        command.env_clear().env("PATH", env::var_os("PATH").unwrap()).kill_on_drop(true);
        command.env("CUSTOMER_MATCH_URL", &url).env("CUSTOMER_MATCH_KEY", &service.key);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let finish = async || {
        let done = sync(&["--once"]).output().await.unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let sqlite = async |statement: &str| {
        let done =
            Command::new("python3").args(["-c", SQLITE]).arg(&file).arg(statement).output().await.unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let count = async |sql: &str| sqlx::query_scalar::<_, i64>(sql).fetch_one(&service.pool).await.unwrap();
    // Runs it until this many rows are counted.
    let kill_at = async |sql: &str, rows: i64| {
        let mut child = sync(&[]).spawn().unwrap();
        while count(sql).await < rows {
            assert!(child.try_wait().unwrap().is_none(), "{:?}", child.wait_with_output().await);
        }
        child.kill().await.unwrap();
    };
    kill_at("select count(*) from customer", 100).await;
    kill_at("select count(*) from customer_match", 1_500).await;
    finish().await;
    assert_eq!(service.count("customer").await, 2 + 300);
    assert_eq!(service.count("customer_match").await, 3_000);

    let reference = async |number: u32| {
        let sql = "select cu_ref_no from customer where email = $1";
        let found = sqlx::query_scalar::<_, String>(sql).bind(format!("c{number}@example.com"));
        found.fetch_one(&service.pool).await.unwrap()
    };
    let (manager, customer) = (reference(50).await, reference(51).await);
    let pair = json!({ "managerCuRefNo": manager, "customerCuRefNo": customer });
    service.post_to(UNMATCH, pair).await.assert_success();
    let reversed = json!({ "managerCuRefNo": reference(61).await, "customerCuRefNo": reference(60).await, "notice": "there" });
    service.post_match(reversed).await.assert_success();
    let guest =
        json!({ "managerCuRefNo": manager, "customerEmail": "guest@example.com", "notice": "new there" });
    service.post_match(guest).await.assert_success();
    for statement in [
        "update relation set notice = 'here' where id <= 20",
        "update relation set active = 0 where id between 21 and 30",
        "update relation set role = 'both' where id = 40",
        "insert into customer (email) values ('new@example.com')",
        "insert into relation (manager, customer, notice) select 1, max(id), 'new here' from customer",
    ] {
        sqlite(statement).await;
    }
    kill_at("select count(*) from customer_match where notice = 'here'", 1).await;
    finish().await;

    let there: Vec<String> = sqlx::query_scalar(
        "select
             case when low_is_manager and high_is_manager then
                 least(low.email, high.email) || '<>' || greatest(low.email, high.email)
             when low_is_manager then low.email || '>' || high.email
             else high.email || '>' || low.email end
             || case when active then '' else ' ended' end || ' ' || coalesce(notice, '') as relation
         from customer_match
         join customer as low on low.organisation_id = customer_match.organisation_id and low.cu_ref_no = low_cu_ref_no
         join customer as high on high.organisation_id = customer_match.organisation_id and high.cu_ref_no = high_cu_ref_no",
    )
    .fetch_all(&service.pool)
    .await
    .unwrap();
    let here = sqlite(
        "select
             case role when 'both' then min(m.email, c.email) || '<>' || max(m.email, c.email)
             else m.email || '>' || c.email end
             || case when active then '' else ' ended' end || ' ' || coalesce(notice, '') as relation
         from relation join customer m on m.id = manager join customer c on c.id = customer",
    )
    .await;
    let [here, there] = [here, there].map(BTreeSet::from_iter);
    assert_eq!(here, there);
    assert_eq!(there.len(), 3_002);
    let counted = |part: &str| there.iter().filter(|relation| relation.contains(part)).count();
    assert_eq!((counted(" here"), counted(" ended "), counted("<>")), (20 + 1, 10 + 1, 2));
    assert!(there.contains("c50@example.com>guest@example.com new there"));
    assert!(there.contains("c60@example.com<>c61@example.com there"));
}
