//! The log of the real binary: what each request leaves in it, and what nothing ever does.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;

use customer_match::db::api_key;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use tempfile::NamedTempFile;

use crate::support::binary::{Server, on};
use crate::support::{
    BATCH, CREATE, CUSTOMER, DETAIL, LIST, LOGOUT, MAGIC_AUTH, MANAGER, MATCH, NDJSON, Service, UNMATCH,
};

/// A server on the service's database whose stderr is a file.
struct Logged {
    server: Server,
    log: NamedTempFile,
}

impl Logged {
    fn start(service: &Service, flags: &[&str]) -> Self {
        let log = NamedTempFile::new().unwrap();
        let serve = ["serve", "--listen", "127.0.0.1:0"];
        let mut command = on(&service.database, &[&serve, flags].concat());
        command.stderr(File::create(log.path()).unwrap());
        Self { server: Server::start(command), log }
    }

    /// Stops the server and returns all that it wrote.
    fn stop(self) -> String {
        let printed = self.server.stop();
        printed + &std::fs::read_to_string(self.log.path()).unwrap()
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.url.trim_start_matches("http://")).unwrap()
    }

    /// Sends octets that no client library would and reads until the server closes.
    fn send_raw(&self, octets: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(octets.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// The events that end a request, by the id that the client gave it.
fn events(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|event| event["duration_ms"].is_f64()).collect()
}

/// A stream leaves its event when its answer has ended.
#[tokio::test]
async fn a_batch_leaves_one_event() {
    let service = Service::start().await;
    let logged = Logged::start(&service, &["--prod-limit-per-minute", "4"]);
    let send = async |id: &str, lines: &str| {
        let url = format!("{}{BATCH}?apiKey={}", logged.server.url, service.key);
        let request = Client::new().post(url).header("x-request-id", id).header("content-type", NDJSON);
        request.body(lines.to_owned()).send().await.unwrap().text().await.unwrap()
    };
    let relation = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": "Needle" });
    send("whole", &format!("\n{relation}\n{{}}\n")).await;
    send("over", &"{}\n".repeat(9)).await;
    let log = logged.stop();
    let counts = |id: &str| {
        let events = events(&log);
        let event = events.iter().find(|event| event["id"] == id).unwrap();
        json!([event["message"], event["status"], event["lines"], event["rejected"], event["error"]])
    };
    assert_eq!(counts("whole"), json!(["request completed", 200, 2, 1, null]));
    let code = "PUBLIC_API_KEY_TOO_MANY_REQUEST";
    assert_eq!(counts("over"), json!(["request completed", 200, 2, 2, code]));
    assert!(!log.contains("Needle") && !log.contains(&service.key));
}

#[tokio::test]
async fn each_request_leaves_one_event() {
    let service = Service::start().await;
    let logged = Logged::start(&service, &["--request-timeout", "2s", "--body-timeout", "1s"]);
    let client = Client::new();
    let call = |method: Method, path: &str, id: &str| {
        client.request(method, format!("{}{path}", logged.server.url)).header("x-request-id", id)
    };
    let relation = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    let keyed = format!("{MATCH}?apiKey={}", service.key);
    call(Method::POST, &keyed, "good")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .json(&relation)
        .send()
        .await
        .unwrap();
    call(Method::POST, MATCH, "keyless").json(&relation).send().await.unwrap();
    call(Method::from_bytes(b"BREW").unwrap(), "/nothing", "unknown").send().await.unwrap();

    let mut other = service.pool.begin().await.unwrap();
    sqlx::query("lock table customer_match").execute(&mut *other).await.unwrap();
    call(Method::POST, &keyed, "late").json(&relation).send().await.unwrap();
    let mut left = logged.connect();
    let detail = format!("{DETAIL}?apiKey={}&cuRefNo={CUSTOMER}&identityId={}", service.key, "a".repeat(32));
    sqlx::query("lock table customer_identity").execute(&mut *other).await.unwrap();
    write!(left, "GET {detail} HTTP/1.1\r\nHost: h\r\nX-Request-Id: left\r\n\r\n").unwrap();
    service.database.lock_waits().await.until(|wait| wait.query.contains("identity")).await;
    drop(left);
    let log = logged.stop();

    let mut events = events(&log);
    events.retain(|event| event["level"] == "INFO");
    let mask = format!("{}…{}", &service.key[..4], &service.key[28..]);
    for event in &mut events {
        let decimals = event["duration_ms"].to_string().split_once('.').map(|(_, decimals)| decimals.len());
        assert!(decimals.is_some_and(|count| count <= 3), "to the microsecond: {event}");
        for noise in ["timestamp", "duration_ms", "level", "target"] {
            event.as_object_mut().unwrap().remove(noise);
        }
        if event["key"] == mask {
            event["key"] = "PROD…mask".into();
        }
    }
    insta::assert_json_snapshot!(events, @r#"
    [
      {
        "client_ip": "127.0.0.1",
        "id": "good",
        "key": "PROD…mask",
        "message": "request completed",
        "method": "POST",
        "organisation": 1,
        "route": "/api/v1/customer/customer-match-customer",
        "status": 200,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"
      },
      {
        "client_ip": "127.0.0.1",
        "error": "PUBLIC_API_KEY_IS_EMPTY",
        "id": "keyless",
        "message": "request completed",
        "method": "POST",
        "route": "/api/v1/customer/customer-match-customer",
        "status": 404
      },
      {
        "client_ip": "127.0.0.1",
        "error": "INTERNAL_RESOURCE_NOT_FOUND",
        "id": "unknown",
        "message": "request completed",
        "method": "other",
        "route": "(none)",
        "status": 404
      },
      {
        "client_ip": "127.0.0.1",
        "error": "INTERNAL_SERVICE_UNAVAILABLE",
        "id": "late",
        "key": "PROD…mask",
        "message": "request completed",
        "method": "POST",
        "organisation": 1,
        "route": "/api/v1/customer/customer-match-customer",
        "status": 503
      },
      {
        "client_ip": "127.0.0.1",
        "id": "left",
        "key": "PROD…mask",
        "message": "client disconnected",
        "method": "GET",
        "organisation": 1,
        "route": "/api/v1/customer/detail"
      }
    ]
    "#);
}

#[tokio::test]
async fn a_start_leaves_an_event_that_says_what_started() {
    let service = Service::start().await;
    let url = crate::support::url(&service.database.options().password("hunter2"));
    assert!(url.contains("hunter2"), "{url}");
    let logged = Logged::start(&service, &["--database-url", &url]);
    let listen = logged.server.url.clone();
    let log = logged.stop();
    let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let event = events.find(|event| event["message"] == "server started").unwrap();
    let database = event["database"].as_str().unwrap();
    assert_eq!((&event["level"], &event["demo"]), (&json!("INFO"), &json!(false)));
    assert_eq!((&event["version"], &event["listen"]), (&json!("0.1.0"), &json!(listen)));
    assert!(event["commit"].as_str().is_some_and(|commit| !commit.is_empty()), "{event}");
    assert!(database.starts_with("postgres://") && database.contains("/customer_match_test_"), "{database}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn the_client_ip_is_that_behind_a_trusted_proxy_or_left_out() {
    let service = Service::start().await;
    let client_ip = async |flags: &[&str]| {
        let logged = Logged::start(&service, flags);
        let request = Client::new().get(format!("{}/livez", logged.server.url));
        request.header("x-forwarded-for", "203.0.113.9").send().await.unwrap();
        events(&logged.stop())[0].get("client_ip").cloned()
    };
    assert_eq!(client_ip(&[]).await, Some(json!("127.0.0.1")));
    assert_eq!(client_ip(&["--trusted-proxy", "127.0.0.1"]).await, Some(json!("203.0.113.9")));
    let left_out = ["--trusted-proxy", "127.0.0.1", "--no-log-client-ip"];
    assert_eq!(client_ip(&left_out).await, None);
}

#[tokio::test]
async fn a_log_for_people_is_text() {
    let service = Service::start().await;
    let logged = Logged::start(&service, &["--log-format", "text"]);
    reqwest::get(format!("{}/livez", logged.server.url)).await.unwrap();
    let log = logged.stop();
    let line = log.lines().find(|line| line.contains("request completed")).unwrap();
    assert!(line.contains(" INFO request completed ") && line.contains("route=\"/livez\""), "{line}");
}

/// Every route with every key in every place, over both versions of HTTP, at the level where libraries write out what
/// they read.
// The clients have to hear that the server stops while the test waits for that.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_ever_in_it() {
    let service = Service::start().await;
    let revoked = service.add_key(service.organisation, &[]).await;
    api_key::revoke(&service.pool, 2).await.unwrap();
    let scopeless = service.add_key(service.organisation, &["something.else"]).await;
    // A database's refusal quotes the whole row.
    service
        .execute("alter table customer_match add constraint c check (notice not like '%needle-refused%')")
        .await;
    service.execute("alter table customer add constraint c check (first_name <> 'needle-first-name')").await;
    let identity = service.log_in("needle-email@barasek.com").await;
    let keys = [
        service.key.as_str(),
        &revoked,
        &scopeless,
        "PRODneedleneedleneedleneedle0001",
        "PRODneedle-malformed",
        "needle malformed/ěšč\n%00",
        "ROOTneedleneedleneedleneedle00010",
    ];

    let logged =
        Logged::start(&service, &["--log-level", "trace,hyper=trace,h2=trace,sqlx=trace,tower_http=trace"]);
    let url = &logged.server.url;
    let clients = [Client::new(), Client::builder().http2_prior_knowledge().build().unwrap()];
    let body = json!({
        "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "customerEmail": "needle-email@barasek.com",
        "notice": "needle-notice", "email": "needle-email@barasek.com", "identityId": identity,
        "firstName": "needle-first-name",
    });
    let parameters =
        [("identityId", identity.as_str()), ("query", "needle-email@barasek.com"), ("cuRefNo", CUSTOMER)];
    let mut requests = 0;
    for client in &clients {
        for key in keys {
            for path in [MATCH, UNMATCH, CREATE, MAGIC_AUTH, LOGOUT] {
                let post = || {
                    client
                        .post(format!("{url}{path}"))
                        .header("x-request-id", key.replace('\n', "").replace(|c: char| !c.is_ascii(), ""))
                };
                let mut with_key = body.clone();
                with_key["apiKey"] = key.into();
                for request in [
                    post().query(&[("apiKey", key)]).json(&body),
                    post().header("authorization", format!("Bearer {}", key.replace('\n', " "))).json(&body),
                    post().json(&with_key),
                    post().query(&[("apiKey", key)]).body(format!("{{\"notice\": \"needle-notice {key}")),
                ] {
                    request.send().await.unwrap();
                    requests += 1;
                }
            }
            for path in [LIST, DETAIL, "/ping/v1", "/livez", "/readyz", "/needle-path"] {
                let get = || {
                    client
                        .get(format!("{url}{path}"))
                        .query(&parameters)
                        .header("cookie", "key=needle-cookie")
                };
                for request in [
                    get().query(&[("apiKey", key)]),
                    get().header("authorization", format!("Bearer {}", key.replace('\n', " "))),
                    get().header("origin", "https://needle-origin.example"),
                ] {
                    request.send().await.unwrap();
                    requests += 1;
                }
            }
        }
        let mut refused = body.clone();
        refused["notice"] = "needle-refused".into();
        let answer =
            client.post(format!("{url}{MATCH}?apiKey={}", service.key)).json(&refused).send().await.unwrap();
        assert_eq!(answer.status(), 500);
        requests += 1;
    }
    let key = &service.key;
    let raw = [
        format!("{key} / HTTP/1.1\r\nHost: {key}\r\nConnection: close\r\n\r\n"),
        format!("GET /{key}?{key} HTTP/1.1\r\nHost: h\r\n{key}: {key}\r\nConnection: close\r\n\r\n"),
        format!("GET http://{key}/livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
    ];
    for octets in raw {
        let answer = logged.send_raw(&octets);
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        requests += 1;
    }
    // Not HTTP at all: no request, and so no event.
    for octets in [format!("GET / HTTP/1.1\r\n{key}\r\n\r\n"), format!("{key}\0\r\n\r\n")] {
        let answer = logged.send_raw(&octets);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    logged.send_raw(&format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{key}{key}"));

    let log = logged.stop();
    assert_eq!(events(&log).iter().filter(|event| event["message"] == "request completed").count(), requests);
    let mask = format!("{}…{}", &key[..4], &key[28..]);
    assert!(log.contains(&mask), "the key's masked form is there");
    assert!(log.contains("violates check constraint"), "the database's errors are there");
    let needles = [&service.key[4..28], &revoked[4..28], &scopeless[4..28], &identity[..16], "needle"];
    for needle in needles {
        if let Some(line) = log.lines().find(|line| line.to_lowercase().contains(&needle.to_lowercase())) {
            panic!("{needle} is in the log: {line}");
        }
    }
}
