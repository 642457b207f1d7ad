//! Many matches in one call: lines in, answers out, at the same time (contract §2).

use std::collections::BTreeSet;
use std::io;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, Request, header};
use axum::response::Response;
use customer_match::db::Layout;
use futures_util::future::join_all;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rstest::rstest;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::binary::{Server, on};
use crate::support::listening::{Listening, parse, read_to_end};
use crate::support::{
    Answer, BATCH, CREATE, CUSTOMER, LockWait, MANAGER, MATCH, NDJSON, Service, UNMATCH, json_request,
    parse_lines, uri,
};

const STRANGER: &str = "nobodyHasThisOne";

fn request(service: &Service) -> axum::http::request::Builder {
    Request::post(uri(BATCH, &service.key, &[])).header(header::CONTENT_TYPE, NDJSON)
}

/// Sends a whole body and returns the lines of the answer.
async fn send(service: &Service, prefer: &str, body: impl Into<Body>) -> Vec<Value> {
    let answer = service.call(request(service).header("prefer", prefer).body(body.into()).unwrap()).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    answer.body.as_array().unwrap().clone()
}

fn lines(lines: impl IntoIterator<Item = Value>) -> String {
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

fn by_email(number: usize) -> Value {
    json!({ "managerCuRefNo": MANAGER, "customerEmail": format!("guest{number}@example.com") })
}

fn pair(notice: &str) -> Value {
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": notice })
}

fn unmatch() -> Value {
    json!({ "operation": "unmatch", "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER })
}

/// The counts of a summary that are not zero.
fn summary(line: &Value) -> Value {
    let mut summary = line.clone();
    summary.as_object_mut().unwrap().retain(|_, count| *count != 0);
    summary
}

/// A stream whose client sends as it likes.
struct Streaming {
    /// `None` once it has ended its body.
    sender: Option<Sender<Bytes, io::Error>>,
    response: Response,
    unread: String,
}

impl Streaming {
    async fn open(service: &Service, first: &Value) -> Self {
        Self::open_with(service, format!("{first}\n")).await
    }

    /// Sends some lines at once.
    async fn open_with(service: &Service, first: String) -> Self {
        let (mut sender, body) = Channel::new(64);
        sender.send_data(first.into()).await.unwrap();
        let request = request(service).header("prefer", "return=representation");
        let response = service.response(request.body(Body::new(body)).unwrap()).await;
        assert_eq!(response.status(), 200);
        Self { sender: Some(sender), response, unread: String::new() }
    }

    async fn send(&mut self, text: impl Into<Bytes>) {
        // A stream that has ended takes no more.
        let _ = self.sender.as_mut().unwrap().send_data(text.into()).await;
    }

    /// As a connection that breaks.
    fn cut_off(&mut self) {
        self.sender.take().unwrap().abort(io::ErrorKind::ConnectionReset.into());
    }

    /// The next line of the answer; `None` at its end.
    async fn next(&mut self) -> Option<Value> {
        while !self.unread.contains('\n') {
            let frame = self.response.body_mut().frame().await?.unwrap();
            self.unread += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
        }
        let rest = self.unread.split_off(self.unread.find('\n').unwrap() + 1);
        Some(serde_json::from_str(&std::mem::replace(&mut self.unread, rest)).unwrap())
    }
}

#[tokio::test]
async fn each_line_is_a_match() {
    let service = Service::start().await;
    service.add_customer(STRANGER, None).await;
    let answer = send(
        &service,
        "",
        lines([
            pair("one"),
            json!({ "managerCuRefNo": MANAGER, "customerEmail": "New@Example.com" }),
            json!({ "managerCuRefNo": STRANGER, "customerCuRefNo": MANAGER }),
        ]),
    )
    .await;
    let all = json!([{
        "lines": 3, "created": 3, "updated": 0, "unchanged": 0, "reactivated": 0, "ended": 0, "rejected": 0,
    }]);
    assert_eq!(Value::from(answer), all);
    assert_eq!(service.count("customer_match").await, 3);
    let mut metrics = service.samples(&["matches_total", "http_requests_total"]).await;
    metrics.retain(|sample| !sample.ends_with(" 0"));
    assert_eq!(
        metrics,
        [
            format!(
                "customer_match_http_requests_total{{route=\"{BATCH}\",method=\"POST\",status=\"2xx\"}} 1"
            ),
            "customer_match_matches_total{outcome=\"created\"} 3".into(),
        ]
    );
}

/// The same lines twice: every outcome there is.
#[tokio::test]
async fn lines_about_one_pair_take_effect_in_their_order() {
    let service = Service::start().await;
    let body = lines([
        pair("first"),
        pair("first"),
        unmatch(),
        pair("second"),
        json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER }),
        unmatch(),
        unmatch(),
        json!({ "operation": "match", "managerCuRefNo": MANAGER, "customerEmail": "jan@barasek.com", "notice": "third" }),
        pair("last"),
    ]);
    let answer = send(&service, "", body.clone()).await;
    let counts =
        json!({ "lines": 9, "created": 1, "unchanged": 1, "reactivated": 2, "updated": 2, "ended": 3 });
    assert_eq!(summary(&answer[0]), counts);
    assert_eq!(service.relations().await, [format!("{MANAGER}<>{CUSTOMER} last")]);
    let again = send(&service, "", body).await;
    let counts = json!({ "lines": 9, "unchanged": 2, "reactivated": 2, "updated": 2, "ended": 3 });
    assert_eq!(summary(&again[0]), counts);
}

/// However the pair is named: of a thousand notices the last one stays.
#[tokio::test]
async fn the_last_notice_of_a_pair_stays() {
    let service = Service::start().await;
    let body = lines((0..1000).map(|number| {
        let notice = format!("notice {number}");
        match number % 3 {
            0 => pair(&notice),
            1 => json!({ "managerCuRefNo": MANAGER, "customerEmail": "jan@barasek.com", "notice": notice }),
            _ => json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER, "notice": notice }),
        }
    }));
    let answer = send(&service, "", body).await;
    assert_eq!(summary(&answer[0]), json!({ "lines": 1000, "created": 1, "updated": 999 }));
    assert_eq!(service.relations().await, [format!("{MANAGER}<>{CUSTOMER} notice 999")]);
}

#[tokio::test]
async fn ten_thousand_lines_are_written_and_may_be_sent_again() {
    let service = Service::start().await;
    let body = lines((0..10_000).map(by_email));
    let answer = send(&service, "", body.clone()).await;
    assert_eq!(answer.len(), 1);
    assert_eq!(summary(&answer[0]), json!({ "lines": 10_000, "created": 10_000 }));
    let again = send(&service, "", body).await;
    assert_eq!(summary(&again[0]), json!({ "lines": 10_000, "unchanged": 10_000 }));
    assert_eq!(service.count("customer_match").await, 10_000);
}

/// A line is answered what its single call is answered, with its number.
#[rstest]
#[case::lenient("")]
#[case::strict("handling=strict")]
#[tokio::test]
async fn a_rejected_line_has_the_error_of_its_single_call(#[case] prefer: &str) {
    let service = Service::start().await;
    let bodies = [
        "{",
        "[]",
        "7",
        "\"\\ud800\"",
        "{}",
        r#"{"managerCuRefNo":"short","customerEmail":"no address","notice":7}"#,
        r#"{"managerCuRefNo":"1cGIHvFoQDGLAbcA","customerCuRefNo":"1cGIHvFoQDGLAbcA"}"#,
        r#"{"managerCuRefNo":"1cGIHvFoQDGLAbcA","customerCuRefNo":"nobodyHasThisOne"}"#,
        r#"{"managerCuRefNo":"nobodyHasThisOne","customerEmail":"jan@barasek.com"}"#,
        r#"{"managerCuRefNo":"1cGIHvFoQDGLAbcA","managerCuRefNo":"1cGIHvFoQDGLAbcA"}"#,
        r#"{"managerCuRefNo":"1cGIHvFoQDGLAbcA","customerCuRefNo":"nobodyHasThisOne","note":"x"}"#,
    ];
    let mut expected = Vec::new();
    for body in bodies {
        let single = json_request(&uri(MATCH, &service.key, &[])).header("prefer", prefer);
        let single = service.call(single.body(Body::from(body)).unwrap()).await;
        assert!(single.status >= 400);
        expected.push(json!({ "line": expected.len() + 1, "error": single.body["error"] }));
    }
    for body in ["{}", r#"{"managerCuRefNo":"1cGIHvFoQDGLAbcA","customerCuRefNo":"5CmsaVNgAQqRqoen"}"#] {
        let single = service.post_to(UNMATCH, serde_json::from_str(body).unwrap()).await;
        expected.push(json!({ "line": expected.len() + 1, "error": single.body["error"] }));
    }
    let unmatches = [r#"{"operation":"unmatch"}"#.to_owned(), unmatch().to_string()];
    let body = bodies.map(str::to_owned).into_iter().chain(unmatches).map(|line| line + "\n");
    let mut answer = send(&service, prefer, body.collect::<String>()).await;
    assert_eq!(summary(&answer.pop().unwrap()), json!({ "lines": 13, "rejected": 13 }));
    // The line names the two the other way round.
    let last = answer.last_mut().unwrap();
    assert_eq!(last["error"]["description"], format!("Relation of {CUSTOMER} and {MANAGER}"));
    last["error"]["description"] = format!("Relation of {MANAGER} and {CUSTOMER}").into();
    assert_eq!(Value::from(answer), Value::from(expected));
    assert_eq!(service.count("customer_match").await, 0);
}

/// Empty lines count, as in an editor, and are nothing else.
#[tokio::test]
async fn lines_are_told_apart_by_line_feeds() {
    let service = Service::start().await;
    let long = "x".repeat(256 * 1024);
    let notice = "n".repeat(10_000);
    let mut body = format!("\n{}\r\n \r\n\u{feff}{}\n{long}x\n{{\n", by_email(1), by_email(2)).into_bytes();
    body.extend([b'"', 0xff, b'"', b'\n']);
    body.extend(format!("{}\n\n{}", pair(&notice), by_email(3)).bytes());
    // In pieces that end anywhere.
    for size in [7, 4096, body.len()] {
        let pieces = body.chunks(size).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))));
        let stream = futures_util::stream::iter(pieces.collect::<Vec<Result<_, std::convert::Infallible>>>());
        let answer = send(&service, "", Body::new(StreamBody::new(stream))).await;
        let rejected: Vec<_> = answer[..answer.len() - 1]
            .iter()
            .map(|line| (line["line"].as_u64().unwrap(), line["error"]["description"].as_str().unwrap()))
            .collect();
        assert_eq!(
            rejected,
            [
                (5, "A line has at most 256 KiB."),
                (6, "The body is not valid JSON: EOF while parsing an object at line 1 column 1."),
                (7, "The body is not UTF-8."),
            ]
        );
        let last = answer.last().unwrap();
        assert_eq!((&last["lines"], &last["rejected"]), (&json!(10), &json!(3)));
    }
    assert_eq!(service.count("customer_match").await, 4);
}

#[tokio::test]
async fn a_body_without_lines_is_only_summed_up() {
    let service = Service::start().await;
    for (body, count) in [("", 0), ("\n\n", 2)] {
        let answer = send(&service, "", body).await;
        assert_eq!((answer.len(), &answer[0]["lines"]), (1, &json!(count)));
    }
}

async fn send_array(service: &Service, body: String) -> Answer {
    service.call(json_request(&uri(BATCH, &service.key, &[])).body(body.into()).unwrap()).await
}

#[tokio::test]
async fn an_array_has_a_line_for_each_element() {
    let service = Service::start().await;
    let elements = [by_email(1), json!(null), by_email(2), json!([{}])];
    let answer = send_array(&service, format!("\u{feff}\n {:#}", Value::from(elements.to_vec()))).await;
    assert_eq!((answer.status, &answer.headers[header::CONTENT_TYPE]), (200, &NDJSON.parse().unwrap()));
    let lines = answer.body.as_array().unwrap();
    for (line, number) in [(&lines[0], 2), (&lines[1], 4)] {
        assert_eq!(
            (&line["line"], &line["error"]["description"]),
            (&json!(number), &json!("The body must be a JSON object."))
        );
    }
    assert_eq!(summary(&lines[2]), json!({ "lines": 4, "created": 2, "rejected": 2 }));
    let thousand = send_array(&service, Value::from_iter((0..1000).map(by_email)).to_string()).await;
    assert_eq!(thousand.body[0]["lines"], 1000);
    assert_eq!(send_array(&service, "[]".into()).await.body[0]["lines"], 0);

    let more = send_array(&service, Value::from_iter((0..1001).map(by_email)).to_string()).await;
    more.assert_error(422, "INTERNAL_VALIDATION_FAILED");
    assert_eq!(more.body["error"]["description"], "The array must have at most 1,000 elements.");
    let object = send_array(&service, pair("n").to_string()).await;
    object.assert_error(422, "INTERNAL_VALIDATION_FAILED");
    assert_eq!(object.body["error"]["description"], "The body must be a JSON array.");
    for broken in ["", "[", "[{}", "[{},]", "[{}] []"] {
        send_array(&service, broken.into()).await.assert_error(400, "INTERNAL_VALIDATION_FAILED");
    }
    let too_long = send_array(&service, " ".repeat(1024 * 1024 + 1)).await;
    too_long.assert_error(413, "INTERNAL_PAYLOAD_TOO_LARGE");
    assert_eq!(too_long.body["error"]["description"], "A request body has at most 1024 KiB.");
}

/// What is wrong with the call as a whole is answered as everywhere, before anything is written.
#[tokio::test]
async fn the_call_is_checked_before_its_lines() {
    let service = Service::start().await;
    let body = || Body::from(lines([pair("n")]));
    let call = |uri: String, content_type: &str| {
        Request::post(uri).header(header::CONTENT_TYPE, content_type.to_owned())
    };
    let keyed = || uri(BATCH, &service.key, &[]);

    // A key in a line is none.
    let in_line = json!({ "apiKey": service.key, "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    let without_key = call(BATCH.into(), NDJSON).body(Body::from(lines([in_line]))).unwrap();
    service.call(without_key).await.assert_error(404, "PUBLIC_API_KEY_IS_EMPTY");
    let media = service.call(call(keyed(), "text/csv").body(body()).unwrap()).await;
    media.assert_error(415, "INTERNAL_UNSUPPORTED_MEDIA_TYPE");
    let coded = call(keyed(), NDJSON).header(header::CONTENT_ENCODING, "gzip").body(body()).unwrap();
    service.call(coded).await.assert_error(415, "INTERNAL_UNSUPPORTED_MEDIA_TYPE");
    let strict = call(keyed() + "&wait=1", NDJSON).header("prefer", "handling=strict").body(body()).unwrap();
    service.call(strict).await.assert_error(422, "INTERNAL_VALIDATION_FAILED");
    assert_eq!(service.count("customer_match").await, 0);

    let bearer = call(BATCH.into(), "Application/X-NDJSON; charset=utf-8")
        .header(header::AUTHORIZATION, format!("Bearer {}", service.key));
    let answer = service.call(bearer.body(body()).unwrap()).await;
    assert_eq!(answer.body[0]["created"], 1);
    assert_eq!(answer.headers["x-ratelimit-remaining"], "499996");
}

#[tokio::test]
async fn a_representation_has_a_line_for_each_line() {
    let service = Service::start().await;
    let answer =
        send(&service, "return=representation", lines([pair("one"), json!({}), unmatch(), by_email(1)]))
            .await;
    assert_eq!(
        answer.iter().map(|line| line["line"].as_u64()).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3), Some(4), None]
    );
    let relation = &answer[0]["relation"];
    assert_eq!((&answer[0]["success"], &answer[0]["outcome"]), (&json!(true), &json!("created")));
    assert_eq!((&relation["customerEmail"], &relation["notice"]), (&json!("jan@barasek.com"), &json!("one")));
    assert_eq!((&answer[2]["line"], &answer[2]["success"]), (&json!(3), &json!(true)));
    assert_eq!(answer[2]["relation"]["active"], false);
    assert_eq!(answer[3]["customerCreated"], true);
    assert_eq!(summary(&answer[4]), json!({ "lines": 4, "created": 2, "ended": 1, "rejected": 1 }));
}

/// Also of lines that are written in other batches than the line before, and of more bytes than are kept for a client.
#[tokio::test]
async fn answers_are_in_the_order_of_the_lines() {
    let service = Service::start().await;
    let body =
        lines((0..5000).map(|number| if number % 7 == 0 { json!({}) } else { by_email(number % 900) }));
    let answer = send(&service, "return=representation", body).await;
    let numbers: Vec<_> = answer.iter().filter_map(|line| line["line"].as_u64()).collect();
    assert_eq!(numbers, (1..=5000).collect::<Vec<_>>());
    assert_eq!(answer.len(), 5001);
}

/// A key that may not read sees of each relation what the line sent.
#[tokio::test]
async fn a_representation_shows_what_was_sent() {
    let mut service = Service::start().await;
    service.post_to(CREATE, json!({ "email": "eva@example.com", "lastName": "Needle" })).await;
    service.post_match(pair("Needle")).await.assert_success();
    service.key = service.add_key(service.organisation, &["customer.match"]).await;
    let answer = send(
        &service,
        "return=representation",
        lines([
            json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }),
            json!({ "managerCuRefNo": MANAGER, "customerEmail": "eva@example.com" }),
            unmatch(),
        ]),
    )
    .await;
    let shown = |line: &Value| line["relation"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let always = ["managerCuRefNo", "active", "createdAt", "matchedAt", "updatedAt", "endedAt", "version"];
    for (line, name) in
        [(&answer[0], "customerCuRefNo"), (&answer[1], "customerEmail"), (&answer[2], "customerCuRefNo")]
    {
        assert_eq!(shown(line), always.into_iter().chain([name]).map(String::from).collect());
    }
    assert!(!Value::from(answer).to_string().contains("Needle"));
}

/// Each line is a call; the first one came with the call itself.
#[tokio::test]
async fn a_limit_that_is_used_up_ends_the_stream() {
    let service = Service::start_configured(&["--prod-limit-per-minute", "5"]).await;
    let request = request(&service).body(Body::from(lines((1..=9).map(by_email)))).unwrap();
    let answer = service.call(request).await;
    assert_eq!(answer.headers["x-ratelimit-remaining"], "4");
    let [last] = &answer.body.as_array().unwrap()[..] else { panic!("{:#}", answer.body) };
    assert_eq!(
        (&last["line"], &last["error"]["code"]),
        (&json!(6), &json!("PUBLIC_API_KEY_TOO_MANY_REQUEST"))
    );
    assert!((1..=61).contains(&last["retryAfter"].as_u64().unwrap()), "{last}");
    assert_eq!(service.count("customer_match").await, 5);
}

/// Lines are taken as long as the key is good, and the last line names the one to go on from.
#[rstest]
#[case::revoked("deleted_at = now()", "PUBLIC_API_KEY_HAS_BEEN_DELETED")]
#[case::disabled("active = false", "PUBLIC_API_KEY_IS_NOT_ACTIVE")]
#[case::expired("expires_at = now()", "PUBLIC_API_KEY_HAS_BEEN_EXPIRED")]
#[tokio::test]
async fn a_key_that_ends_meanwhile_ends_the_stream(#[case] change: &str, #[case] code: &str) {
    let service = Service::start().await;
    let mut stream = Streaming::open(&service, &by_email(0)).await;
    assert_eq!(stream.next().await.unwrap()["outcome"], "created");
    service.execute(&format!("update api_key set {change}")).await;
    let mut number = 1;
    let last = loop {
        stream.send(format!("{}\n", by_email(number))).await;
        number += 1;
        match stream.next().await.unwrap() {
            line if line["outcome"] == "created" => assert_eq!(line["line"], number),
            line => break line,
        }
    };
    assert_eq!((&last["line"], &last["error"]["code"]), (&json!(number), &json!(code)));
    assert_eq!(stream.next().await, None);
    assert_eq!(service.count("customer_match").await, i64::try_from(number).unwrap() - 1);
}

/// The last line of the answer names the line to go on from.
#[track_caller]
fn assert_ended(line: &Value, number: u64, code: &str) {
    assert_eq!((&line["line"], &line["error"]["code"]), (&json!(number), &json!(code)), "{line:#}");
}

#[tokio::test]
async fn a_body_that_is_cut_off_has_no_summary() {
    let service = Service::start().await;
    let mut stream = Streaming::open(&service, &by_email(1)).await;
    stream.send("{\"manager").await;
    assert_eq!(stream.next().await.unwrap()["line"], 1);
    stream.cut_off();
    assert_ended(&stream.next().await.unwrap(), 2, "INTERNAL_VALIDATION_FAILED");
    assert_eq!(stream.next().await, None);

    let again = send(&service, "", lines([by_email(1), by_email(2)])).await;
    assert_eq!(summary(&again[0]), json!({ "lines": 2, "unchanged": 1, "created": 1 }));
}

#[tokio::test]
async fn a_client_that_sends_nothing_more_is_told_so() {
    let service = Service::start_configured(&["--body-timeout", "100ms"]).await;
    let (_sender, body) = Channel::<Bytes>::new(1);
    let silent = service.call(request(&service).body(Body::new(body)).unwrap()).await;
    silent.assert_error(408, "INTERNAL_REQUEST_TIMEOUT");

    let mut stream = Streaming::open(&service, &by_email(1)).await;
    assert_eq!(stream.next().await.unwrap()["line"], 1);
    assert_ended(&stream.next().await.unwrap(), 2, "INTERNAL_REQUEST_TIMEOUT");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn at_shutdown_what_is_in_flight_is_finished() {
    let service = Service::start().await;
    let mut lock = PgConnection::connect_with(&service.database.options()).await.unwrap();
    sqlx::raw_sql("begin; lock table customer_match").execute(&mut lock).await.unwrap();
    let mut stream = Streaming::open(&service, &by_email(1)).await;
    service.database.lock_waits().await.until(LockWait::is_of_a_writer).await;
    service.draining.cancel();
    lock.close().await.unwrap();
    assert_eq!(stream.next().await.unwrap()["outcome"], "created");
    let last = stream.next().await.unwrap();
    assert_ended(&last, 2, "INTERNAL_SERVICE_UNAVAILABLE");
    assert_eq!(last["retryAfter"], 1);
    assert_eq!(stream.next().await, None);
}

/// Else a client would think that its condition is looked at.
#[rstest]
#[tokio::test]
async fn a_condition_is_rejected(#[values(header::IF_MATCH, header::IF_NONE_MATCH)] name: HeaderName) {
    let service = Service::start().await;
    let request = request(&service).header(name, "\"3\"").body(Body::from(lines([pair("one")]))).unwrap();
    service.call(request).await.assert_error(400, "INTERNAL_VALIDATION_FAILED");
    assert_eq!(service.count("customer_match").await, 0);
}

/// One that waits for a line that may name its pair in another way is in flight too.
#[tokio::test]
async fn at_shutdown_a_line_that_waits_for_another_is_finished() {
    let service = Service::start().await;
    let mut lock = PgConnection::connect_with(&service.database.options()).await.unwrap();
    sqlx::raw_sql("begin; lock table customer_match").execute(&mut lock).await.unwrap();
    let mut stream = Streaming::open_with(&service, lines([by_email(1), pair("two")])).await;
    service.database.lock_waits().await.until(LockWait::is_of_a_writer).await;
    service.draining.cancel();
    lock.close().await.unwrap();
    for line in 1..=2 {
        let answer = stream.next().await.unwrap();
        assert_eq!((&answer["line"], &answer["outcome"]), (&json!(line), &json!("created")));
    }
    assert_ended(&stream.next().await.unwrap(), 3, "INTERNAL_SERVICE_UNAVAILABLE");
    assert_eq!(stream.next().await, None);
}

/// A locked row delays the lines about its pair and the answers after it, and no other line.
#[tokio::test]
async fn lines_that_need_no_lock_are_written_meanwhile() {
    let service = Service::start().await;
    service.add_customer(STRANGER, None).await;
    service.post_match(pair("before")).await.assert_success();
    let mut lock = PgConnection::connect_with(&service.database.options()).await.unwrap();
    sqlx::raw_sql("begin; select from customer_match where organisation_id = 1 for update")
        .execute(&mut lock)
        .await
        .unwrap();
    let of_another_manager =
        |number| json!({ "managerCuRefNo": STRANGER, "customerEmail": format!("g{number}@example.com") });
    let mut stream = Streaming::open(&service, &pair("one")).await;
    stream.send(lines([pair("two"), pair("three")])).await;
    // More than the window has room for.
    stream.send(lines((0..600).map(of_another_manager))).await;
    while service.count("customer_match").await < 601 {}
    lock.close().await.unwrap();
    for number in 1..=603 {
        assert_eq!(stream.next().await.unwrap()["line"], number);
    }
    drop(stream.sender.take());
    let counts = json!({ "lines": 603, "created": 600, "updated": 3 });
    assert_eq!(summary(&stream.next().await.unwrap()), counts);
    assert!(service.relations().await.contains(&format!("{MANAGER}>{CUSTOMER} three")));
}

/// Streams share a window that leaves most of the queue to single calls, of their own organisation too.
#[tokio::test]
async fn single_calls_find_their_way_between_streams() {
    let service = Service::start().await;
    let streams = join_all((0..8).map(|stream| {
        let body = lines((0..1000).map(move |number| by_email(stream * 1000 + number)));
        send(&service, "", body)
    }));
    // A node of a cluster has a queue of half the length.
    let calls = match service.database.layout() {
        Layout::Single => 500,
        Layout::Distributed => 250,
    };
    let singles = join_all((0..calls).map(|number| service.post_match(by_email(number))));
    let (streams, singles) = tokio::join!(streams, singles);
    singles.iter().for_each(Answer::assert_success);
    for answer in streams {
        assert_eq!((&answer[0]["lines"], &answer[0]["rejected"]), (&json!(1000), &json!(0)));
    }
    assert_eq!(service.count("customer_match").await, 8000);
}

/// The same on a real connection: the answer to a line comes before the next one is sent.
#[rstest]
#[case::http_1(false)]
#[case::http_2(true)]
#[tokio::test]
async fn lines_and_answers_take_turns(#[case] http_2: bool) {
    let listening = Listening::start(&[]).await;
    let io = TokioIo::new(listening.connect().await);
    let (mut sender, body) = Channel::<Bytes>::new(1);
    let request = request(&listening.service)
        .header(header::HOST, "localhost")
        .header("prefer", "return=representation")
        .body(body)
        .unwrap();
    let sent = async |sender: &mut Sender<Bytes>, number| {
        sender.send_data(lines([by_email(number)]).into()).await.unwrap();
    };
    sent(&mut sender, 1).await;
    let response = if http_2 {
        let executor = TokioExecutor::new();
        let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        client.send_request(request).await
    } else {
        let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        client.send_request(request).await
    };
    let mut answer = response.unwrap().into_body();
    for number in 1..=50 {
        let frame = answer.frame().await.unwrap().unwrap();
        let line: Value = serde_json::from_slice(frame.data_ref().unwrap()).unwrap();
        assert_eq!((&line["line"], &line["outcome"]), (&json!(number), &json!("created")));
        if number < 50 {
            sent(&mut sender, number + 1).await;
        }
    }
    drop(sender);
    let rest = answer.collect().await.unwrap().to_bytes();
    let rest = parse_lines(std::str::from_utf8(&rest).unwrap());
    assert_eq!(summary(&rest[0]), json!({ "lines": 50, "created": 50 }));
}

fn head(key: &str, more: &str) -> String {
    let uri = uri(BATCH, key, &[]);
    format!("POST {uri} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: {NDJSON}\r\n{more}\r\n")
}

/// The lines in the chunks of an answer.
fn unchunk(answer: &str) -> Vec<Value> {
    let (_, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    let mut text = String::new();
    while let Some((size, more)) = rest.split_once("\r\n") {
        let (chunk, more) = more.split_at(usize::from_str_radix(size, 16).unwrap());
        text += chunk;
        rest = &more[2..];
    }
    parse_lines(&text)
}

/// Its answers are kept, up to half a megabyte.
#[tokio::test]
async fn a_client_may_send_all_before_it_reads() {
    let listening = Listening::start(&[]).await;
    let body =
        lines((0..20_000).map(|number| if number < 1500 { json!({}) } else { by_email(number % 100) }));
    let head = head(&listening.service.key, &format!("Content-Length: {}\r\n", body.len()));
    let mut stream = listening.connect().await;
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let answer = unchunk(&read_to_end(stream).await);
    assert_eq!(answer.len(), 1501);
    assert_eq!(answer[1500]["lines"], 20_000);
}

/// Beyond that no line is taken, and the client is given up as any that does not read.
#[tokio::test]
async fn a_client_that_never_reads_is_disconnected() {
    let listening = Listening::start(&["--idle-timeout", "200ms"]).await;
    let mut stream = listening.connect().await;
    let head = head(&listening.service.key, "Transfer-Encoding: chunked\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 3 * 4096, "{}\n".repeat(4096));
    while stream.write_all(chunk.as_bytes()).await.is_ok() {}
}

/// While its line waits for a lock, other connections are closed because they are idle.
#[tokio::test]
async fn a_stream_that_has_nothing_to_say_is_not_idle() {
    let listening = Listening::start(&["--idle-timeout", "100ms", "--header-timeout", "100ms"]).await;
    let service = &listening.service;
    let mut lock = PgConnection::connect_with(&service.database.options()).await.unwrap();
    sqlx::raw_sql("begin; lock table customer_match").execute(&mut lock).await.unwrap();
    let mut stream = listening.connect().await;
    let line = lines([by_email(1)]);
    let head = head(&service.key, "Transfer-Encoding: chunked\r\n");
    stream.write_all(format!("{head}{:x}\r\n{line}\r\n", line.len()).as_bytes()).await.unwrap();
    service.database.lock_waits().await.until(LockWait::is_of_a_writer).await;
    for _ in 0..5 {
        let idle = listening.exchange(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(idle.starts_with("HTTP/1.1 200 "), "{idle}");
    }
    lock.close().await.unwrap();
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(unchunk(&read_to_end(stream).await)[0]["created"], 1);
}

/// While the body goes on after the end of the answer, the client can read that end.
#[tokio::test]
async fn the_end_of_the_answer_can_be_read() {
    let listening = Listening::start(&["--prod-limit-per-minute", "3"]).await;
    let body = lines((0..50_000).map(by_email));
    let head = head(&listening.service.key, &format!("Content-Length: {}\r\n", body.len()));
    let mut stream = listening.connect().await;
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let answer = unchunk(&read_to_end(stream).await);
    assert_ended(&answer[0], 4, "PUBLIC_API_KEY_TOO_MANY_REQUEST");
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_sends_the_body() {
    let listening = Listening::start(&[]).await;
    let body = lines([by_email(1)]);
    let more = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", body.len());
    let mut stream = listening.connect().await;
    stream.write_all(head(&listening.service.key, &more).as_bytes()).await.unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    // The client ends its side, as `nc -N` does.
    stream.write_all(body.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(unchunk(&read_to_end(stream).await)[0]["created"], 1);
    // One without a key is not told.
    let without_key = head("", &more);
    let answer = parse(&listening.exchange(without_key.as_bytes()).await);
    answer.assert_error(404, "PUBLIC_API_KEY_IS_EMPTY");
}

/// A server that dies in the middle leaves some lines written. Sent again, all are there, once.
#[tokio::test]
async fn after_a_crash_the_stream_is_sent_again() {
    const LINES: usize = 20_000;
    let service = Service::start().await;
    let start = || Server::start(on(&service.database, &["serve", "--listen", "127.0.0.1:0"]));
    let body = lines((0..LINES).map(by_email));
    let head = head(&service.key, &format!("Content-Length: {}\r\n", body.len()));
    let request = (head + &body).into_bytes();

    let mut server = start();
    let connect =
        async |server: &Server| TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let (mut input, mut output) = connect(&server).await.into_split();
    let bytes = request.clone();
    let sending = tokio::spawn(async move { output.write_all(&bytes).await });
    while service.count("customer_match").await < 500 {}
    server.signal(Signal::KILL);
    server.wait();
    let mut answer = String::new();
    let _ = input.read_to_string(&mut answer).await;
    assert!(!answer.contains("created"), "it has no summary: {answer}");
    let _ = sending.await.unwrap();
    let written = service.count("customer_match").await;

    let server = start();
    let mut stream = connect(&server).await;
    stream.write_all(&request).await.unwrap();
    let answer = unchunk(&read_to_end(stream).await);
    let all = i64::try_from(LINES).unwrap();
    // What was in flight may be written after the count.
    let unchanged = answer[0]["unchanged"].as_i64().unwrap();
    assert!((written..all).contains(&unchanged), "{written} were written: {answer:?}");
    assert_eq!(answer[0]["created"].as_i64().unwrap() + unchanged, all);
    assert_eq!(service.count("customer_match").await, all);
}
