//! Keys that stand in web pages: which pages may use them, how often, and what a stranger learns with one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use customer_match::db::api_key::{self, NewKey};
use customer_match::domain::{ApiKey, KeyKind};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::binary::{Server, on, run, run_json, run_refused};
use crate::support::{
    Answer, CREATE, CUSTOMER, DETAIL, LIST, MANAGER, MATCH, Service, UNMATCH, json_request, one_way, uri,
};

const PAGE: &str = "https://app.example";
const OTHER_ORIGIN: &str = "PUBLIC_API_KEY_ORIGIN_NOT_ALLOWED";

async fn add_key(service: &Service, origins: &[&str], client_limit: u32, limit: Option<u32>) -> String {
    let key = ApiKey::generate(KeyKind::Prod);
    let origins: Vec<_> = origins.iter().map(ToString::to_string).collect();
    let new = NewKey {
        scopes: &["customer.match".into()],
        limit_per_minute: limit,
        allowed_origins: &origins,
        client_limit_per_minute: Some(client_limit),
        ..Default::default()
    };
    api_key::create(&service.pool, service.organisation, &key, &new).await.unwrap().unwrap();
    key.expose().into()
}

/// A service with a publishable key for one page.
async fn start() -> (Service, String) {
    let service = Service::start().await;
    let key = add_key(&service, &[PAGE], 1000, None).await;
    (service, key)
}

fn pair() -> Value {
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER })
}

/// As a browser sends it from a page of these origins.
async fn post_from(service: &Service, key: &str, origins: &[&str], body: &Value) -> Answer {
    let mut request = json_request(MATCH).header(header::AUTHORIZATION, format!("Bearer {key}"));
    for origin in origins {
        request = request.header(header::ORIGIN, *origin);
    }
    service.call(request.body(Body::from(body.to_string())).unwrap()).await
}

fn readable_by(answer: &Answer) -> Option<&str> {
    answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|origin| origin.to_str().unwrap())
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_matches_and_reads_the_answer() {
    let (service, key) = start().await;
    let answer = post_from(&service, &key, &[PAGE], &pair()).await;
    answer.assert_success();
    assert_eq!(readable_by(&answer), Some(PAGE));
    let vary =
        answer.headers.get_all(header::VARY).iter().any(|value| value.to_str().unwrap().contains("origin"));
    assert!(vary, "a cache must not give it to another origin");
    assert_eq!(service.relations().await, [one_way(MANAGER, CUSTOMER)]);
}

#[rstest]
#[case::of_no_page(&[])]
#[case::of_a_file(&["null"])]
#[case::of_another_host(&["https://evil.example"])]
#[case::of_another_scheme(&["http://app.example"])]
#[case::of_another_port(&["https://app.example:8443"])]
#[case::of_a_subdomain(&["https://www.app.example"])]
#[case::of_two(&[PAGE, PAGE])]
#[case::of_a_list(&["https://app.example https://evil.example"])]
#[case::of_bytes(&["https://app.example\u{e9}"])]
#[tokio::test]
async fn a_call_is_rejected(#[case] origins: &[&str]) {
    let (service, key) = start().await;
    let answer = post_from(&service, &key, origins, &pair()).await;
    answer.assert_error(403, OTHER_ORIGIN);
    assert_eq!(readable_by(&answer), None);
    assert!(!answer.body.to_string().contains("app.example"), "it does not say which origins are allowed");
    assert_eq!(service.count("customer_match").await, 0);
}

#[tokio::test]
async fn no_call_at_all_is_made_from_another_origin() {
    let (service, key) = start().await;
    for path in ["/ping/v1", LIST, DETAIL] {
        service.get(&uri(path, &key, &[])).await.assert_error(403, OTHER_ORIGIN);
    }
    for path in [CREATE, UNMATCH] {
        service.post(&uri(path, &key, &[]), json!({})).await.assert_error(403, OTHER_ORIGIN);
    }
}

/// Its answer would tell whether the two are related.
#[tokio::test]
async fn a_page_makes_no_condition() {
    let (service, key) = start().await;
    for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
        for body in [pair(), json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": "nobodyHasThisOne" })] {
            let request =
                json_request(&uri(MATCH, &key, &[])).header(header::ORIGIN, PAGE).header(&name, "*");
            let answer = service.call(request.body(Body::from(body.to_string())).unwrap()).await;
            answer.assert_error(403, "PUBLIC_API_KEY_SCOPE_NOT_ALLOWED");
        }
    }
    assert_eq!(service.count("customer_match").await, 0);
}

#[tokio::test]
async fn several_origins_and_all_subdomains_of_one_may_be_allowed() {
    let service = Service::start().await;
    let key = add_key(&service, &["http://localhost:3000", "https://*.example.com"], 60, None).await;
    for (origin, allowed) in [
        ("http://localhost:3000", true),
        ("https://shop.example.com", true),
        ("https://a.b.example.com", true),
        ("https://example.com", false),
        ("https://evilexample.com", false),
        ("http://localhost:3001", false),
    ] {
        let answer = post_from(&service, &key, &[origin], &pair()).await;
        assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{origin}");
        assert_eq!(readable_by(&answer), allowed.then_some(origin));
    }
}

/// What a client can tell of an answer, but for what is another each time.
fn visible(answer: &Answer) -> (u16, HeaderMap, Value) {
    let mut headers = answer.headers.clone();
    for name in ["x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset"] {
        headers.remove(name);
    }
    (answer.status, headers, answer.body.clone())
}

#[tokio::test]
async fn whoever_exists_the_answer_is_the_same() {
    let (service, key) = start().await;
    service.execute("update customer set email = 'eva@example.com' where email is null").await;
    service.add_customer("deleted000000000", Some("deleted@example.com")).await;
    service.delete_customer("deleted000000000").await;
    service.add_customer("related000000000", None).await;
    let related = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": "related000000000" });
    service.post_match(related.clone()).await.assert_success();
    service.post_to(UNMATCH, related).await.assert_success();
    let (other, _) = service.add_organisation("Other").await;
    service.add_customer_of(other, "onlyInTheOther01", None).await;

    let managers = [MANAGER, "unknown000000000", "deleted000000000", "onlyInTheOther01"];
    let customers = [
        ("customerCuRefNo", CUSTOMER),
        ("customerCuRefNo", CUSTOMER),
        ("customerCuRefNo", MANAGER),
        ("customerCuRefNo", "related000000000"),
        ("customerCuRefNo", "unknown000000000"),
        ("customerCuRefNo", "deleted000000000"),
        ("customerCuRefNo", "onlyInTheOther01"),
        ("customerEmail", "jan@barasek.com"),
        ("customerEmail", "eva@example.com"),
        ("customerEmail", "deleted@example.com"),
        ("customerEmail", "new@example.com"),
        ("customerEmail", "new@example.com"),
    ];
    let mut expected = None;
    for manager in managers {
        for (name, customer) in customers {
            let body = json!({ "managerCuRefNo": manager, name: customer });
            let request = json_request(&uri(MATCH, &key, &[]))
                .header(header::ORIGIN, PAGE)
                .header("prefer", "return=representation");
            let sent = Instant::now();
            let answer = service.call(request.body(Body::from(body.to_string())).unwrap()).await;
            assert!(sent.elapsed() >= Duration::from_millis(100), "the time may tell which is which");
            answer.assert_success();
            let visible = visible(&answer);
            assert_eq!(*expected.get_or_insert_with(|| visible.clone()), visible, "{body}");
        }
    }
    // What exists was matched, and a guest was made for each new address.
    let sql = "select email from customer where organisation_id = 1 and cu_ref_no in (
                 select low_cu_ref_no from customer_match where organisation_id = 1 and deactivated_at is null
                 union select high_cu_ref_no from customer_match where organisation_id = 1 and deactivated_at is null
               ) and email is not null";
    let matched: BTreeSet<String> =
        sqlx::query_scalar(sql).fetch_all(&service.pool).await.unwrap().into_iter().collect();
    let addresses = ["deleted@example.com", "eva@example.com", "jan@barasek.com", "new@example.com"];
    assert_eq!(matched, addresses.map(String::from).into());
    assert_eq!(service.count("customer").await, 6, "two guests");
}

#[rstest]
#[case::no_manager(json!({ "customerCuRefNo": CUSTOMER }), "/managerCuRefNo")]
#[case::no_customer(json!({ "managerCuRefNo": MANAGER }), "/customerCuRefNo")]
#[case::no_address(json!({ "managerCuRefNo": MANAGER, "customerEmail": "nobody" }), "/customerEmail")]
#[tokio::test]
async fn what_is_wrong_with_the_input_itself_is_said(#[case] body: Value, #[case] field: &str) {
    let (service, key) = start().await;
    let answer = post_from(&service, &key, &[PAGE], &body).await;
    answer.assert_invalid(field);
    assert_eq!(readable_by(&answer), Some(PAGE));
}

#[tokio::test]
async fn one_client_does_not_use_up_the_key() {
    let service = Service::start().await;
    let key = add_key(&service, &[PAGE], 2, Some(3)).await;
    let flags = ["serve", "--listen", "127.0.0.1:0", "--trusted-proxy", "127.0.0.1"];
    let server = Server::start(on(&service.database, &flags));
    let client = reqwest::Client::new();
    let ping = async |ip: &str| {
        let request = client.get(format!("{}/ping/v1?apiKey={key}", server.url));
        let response = request.header("x-forwarded-for", ip).header("origin", PAGE).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body: Value = response.json().await.unwrap();
        (status, headers, body["error"]["description"].clone())
    };
    let of_client = "The limit of this API key for one IP address is used up. Please retry later.";
    let of_key = "The limit of this API key is used up. Please retry later.";
    assert_eq!(ping("203.0.113.9").await.0, 200);
    let (status, headers, _) = ping("203.0.113.9").await;
    assert_eq!(
        (status, &headers["x-ratelimit-limit"], &headers["x-ratelimit-remaining"]),
        (200, &"2".parse().unwrap(), &"0".parse().unwrap())
    );
    for _ in 0..3 {
        let (status, headers, description) = ping("203.0.113.9").await;
        assert_eq!((status, description), (429, json!(of_client)));
        assert!(headers.contains_key("retry-after"));
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], PAGE, "the page can read when to try again");
    }
    assert_eq!(ping("203.0.113.10").await.0, 200, "another client is not in the way");
    let (status, _, description) = ping("203.0.113.10").await;
    assert_eq!((status, description), (429, json!(of_key)), "and the key has a limit for all");
}

async fn preflight(service: &Service, origin: &str) -> HeaderMap {
    let request = Request::options(MATCH)
        .header(header::ORIGIN, origin)
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type");
    let response = service.response(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 200);
    response.headers().clone()
}

/// A preflight has no key, so it is allowed; whether the page reads the answer to its call is a matter of the key.
#[tokio::test]
async fn the_origins_of_a_key_are_its_own_and_not_the_servers() {
    let service = Service::start_configured(&["--cors-origin", "https://named.example"]).await;
    let key = add_key(&service, &[PAGE], 60, None).await;
    for origin in [PAGE, "https://named.example", "https://evil.example"] {
        let headers = preflight(&service, origin).await;
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], origin);
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "authorization,content-type");
    }
    let from = async |key: &str, origin: &'static str| {
        let answer = post_from(&service, key, &[origin], &pair()).await;
        (answer.status, readable_by(&answer).map(str::to_owned))
    };
    assert_eq!(from(&key, PAGE).await, (200, Some(PAGE.into())));
    assert_eq!(from(&key, "https://named.example").await, (403, None));
    // A key that is not publishable keeps to the server's setting.
    assert_eq!(from(&service.key, PAGE).await, (200, None));
    assert_eq!(
        from(&service.key, "https://named.example").await,
        (200, Some("https://named.example".into()))
    );
}

#[tokio::test]
async fn a_publishable_key_is_created_shown_and_rotated() {
    let service = Service::start().await;
    let create =
        ["key", "create", "--organisation", "1", "--kind", "prod", "--publishable", "--format", "json"];
    let origins = ["--allowed-origin", "https://*.example.com", "--allowed-origin", "http://localhost:3000"];
    let created = run_json(on(&service.database, &[&create[..], &origins].concat()));
    let show = |id: &str| run_json(on(&service.database, &["key", "show", id, "--format", "json"]));
    let shown = show("2");
    assert_eq!(shown["allowedOrigins"], json!(["https://*.example.com", "http://localhost:3000"]));
    assert_eq!(
        (&shown["publishable"], &shown["scopes"], &shown["clientLimitPerMinute"]),
        (&json!(true), &json!(["customer.match"]), &json!(60))
    );
    run(on(&service.database, &["key", "rotate", "2"]));
    let successor = show("3");
    for same in ["publishable", "scopes", "allowedOrigins", "clientLimitPerMinute"] {
        assert_eq!(successor[same], shown[same], "{same}");
    }
    let key = created["apiKey"].as_str().unwrap();
    post_from(&service, key, &["http://localhost:3000"], &pair()).await.assert_success();
    let listed = run(on(&service.database, &["key", "list", "--organisation", "1"]));
    assert!(listed.contains("prod, publishable"), "{listed}");
}

#[rstest]
#[case::without_an_origin(&["--publishable"], "--allowed-origin")]
#[case::without_the_flag(&["--allowed-origin", PAGE], "--publishable")]
#[case::limit_without_the_flag(&["--client-limit-per-minute", "5"], "--publishable")]
#[case::any_origin(&["--publishable", "--allowed-origin", "*"], "must be an origin")]
#[case::a_path(&["--publishable", "--allowed-origin", "https://app.example/"], "must be an origin")]
#[case::another_scope(&["--publishable", "--allowed-origin", PAGE, "--scope", "customer.match,customer.read"], "at most the scope")]
#[case::without_a_limit(&["--publishable", "--allowed-origin", PAGE, "--kind", "root"], "another kind than root")]
#[tokio::test]
async fn is_not_created(#[case] arguments: &[&str], #[case] words: &str) {
    let service = Service::start().await;
    let kind: &[&str] = if arguments.contains(&"--kind") { &[] } else { &["--kind", "prod"] };
    let create = ["key", "create", "--organisation", "1"];
    let error = run_refused(on(&service.database, &[&create[..], kind, arguments].concat()));
    assert!(error.contains(words), "{error}");
    assert_eq!(service.count("api_key").await, 1);
}
