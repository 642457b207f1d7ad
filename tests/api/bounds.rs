//! What clients can make the server keep: bodies that do not end, answers that are not read.

use axum::body::Body;
use axum::http::Request;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http2::{get, preface_without_a_window, window_update};
use crate::support::listening::{Listening, parse, read_to_end};
use crate::support::{CREATE, LIST, MANAGER, MATCH, Service, uri};

/// Longer than any test: a body that is waited for fails it.
const FOR_EVER: [&str; 6] = ["--body-timeout", "50m", "--request-timeout", "55m", "--shutdown-timeout", "1h"];

#[rstest]
#[case::unknown("PROD0000000000000000000000000000", 404)]
#[case::malformed("YOUR_API_KEY", 404)]
#[tokio::test]
async fn a_key_outside_the_body_is_checked_before_the_body(#[case] key: &str, #[case] status: u16) {
    let listening = Listening::start(&FOR_EVER).await;
    for path in [MATCH, "/nowhere"] {
        let head =
            format!("POST {path}?apiKey={key} HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n{{");
        let answer = parse(&listening.exchange(head.as_bytes()).await);
        assert_eq!(answer.status, status, "{:#}", answer.body);
        assert_eq!(answer.headers["connection"], "close");
    }
    // Not told to send it either.
    let head = format!(
        "POST {MATCH} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    );
    assert_eq!(parse(&listening.exchange(head.as_bytes()).await).status, status);
}

/// Clients whose keys have expired would connect anew for each call otherwise.
#[tokio::test]
async fn a_rejected_request_whose_body_has_arrived_keeps_its_connection() {
    let listening = Listening::start(&FOR_EVER).await;
    let request = |more: &str| {
        format!("POST {MATCH}?apiKey=YOUR_API_KEY HTTP/1.1\r\nHost: h\r\n{more}Content-Length: 2\r\n\r\n{{}}")
    };
    let both = request("") + &request("Connection: close\r\n");
    let answers = listening.exchange(both.as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 404 Not Found").count(), 2, "{answers}");
}

#[tokio::test]
async fn unfinished_bodies_of_one_client_leave_room_for_those_of_others() {
    let listening = Listening::start(&FOR_EVER).await;
    let mut bytes =
        format!("POST {CREATE} HTTP/1.1\r\nHost: h\r\nContent-Length: 250001\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + 250_000, b' ');
    let mut unfinished = Vec::new();
    // 113 of them have room.
    for _ in 0..130 {
        let mut stream = listening.connect().await;
        let _ = stream.write_all(&bytes).await;
        unfinished.push(stream);
    }
    let last = parse(&read_to_end(unfinished.pop().unwrap()).await);
    last.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
    assert_eq!(last.headers["retry-after"], "1");

    let body = json!({ "email": "eva@example.com" }).to_string();
    let call = format!(
        "POST {CREATE}?apiKey={} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        listening.service.key,
        body.len()
    );
    let mut other = listening.connect_from([127, 0, 0, 2]).await;
    other.write_all(call.as_bytes()).await.unwrap();
    assert_eq!(parse(&read_to_end(other).await).status, 200);

    drop(unfinished);
    // As soon as the server has noticed.
    while !listening.exchange(call.as_bytes()).await.starts_with("HTTP/1.1 200 ") {}
}

#[rstest]
#[case::all("")]
#[case::filtered("example")]
#[tokio::test]
async fn a_page_ends_at_a_megabyte_of_text(#[case] filter: &str) {
    let service = Service::start().await;
    service.add_a_list_of_long_notices().await;
    walk(&service, filter, &service.list_of_manager("true").await, 250).await;
}

/// The filters of long lists.
#[rstest]
#[case::by_the_index("at qx", "company_name = 'At Qx'")]
#[case::by_walking("qx", "company_name = 'At Qx'")]
#[tokio::test]
async fn a_page_of_a_long_list_ends_at_a_megabyte_of_text(#[case] filter: &str, #[case] condition: &str) {
    let service = Service::start_configured(&["--filter-timeout", "4s"]).await;
    service.add_a_long_list().await;
    let lengthen = "update customer_match set notice = repeat('\u{11}', 10000) from customer c
                    where customer_match.organisation_id = 1 and c.organisation_id = 1
                      and c.company_name = 'At Qx' and c.cu_ref_no in (low_cu_ref_no, high_cu_ref_no)";
    service.execute(lengthen).await;
    walk(&service, filter, &service.list_of_manager(condition).await, 17).await;
}

/// Reads all pages. Each relation is on one of them, and none is much larger than a megabyte.
async fn walk(service: &Service, filter: &str, expected: &[String], most: usize) {
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let parameters =
            [("cuRefNo", MANAGER), ("limit", "500"), ("query", filter), ("cursor", cursor.as_str())];
        let page = service.get_from(LIST, &parameters).await;
        assert_eq!(page.status, 200, "{:#}", page.body);
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= most);
        assert!(page.body.to_string().len() < 1_200_000, "{}", page.body.to_string().len());
        assert!(items.iter().all(|item| item["notice"].as_str().unwrap().chars().count() == 10_000));
        seen.extend(items.iter().map(|item| item["cuRefNo"].as_str().unwrap().to_owned()));
        match &page.body["nextCursor"] {
            Value::String(next) => cursor.clone_from(next),
            _ => break,
        }
    }
    assert_eq!(seen, expected);
}

fn list_request(service: &Service) -> Request<Body> {
    let uri = uri(LIST, &service.key, &[("cuRefNo", MANAGER), ("limit", "500")]);
    Request::get(uri).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn answers_that_are_not_sent_are_bounded() {
    let service = Service::start().await;
    service.add_a_list_of_long_notices().await;
    let mut unsent = Vec::new();
    let rejected = loop {
        let response = service.response(list_request(&service)).await;
        if response.status() != 200 {
            break response;
        }
        unsent.push(response);
    };
    assert_eq!(rejected.status(), 503);
    assert_eq!(rejected.headers()["retry-after"], "1");
    assert!((20..=33).contains(&unsent.len()), "{}", unsent.len());
    // Short answers go on.
    service.get_from("/ping/v1", &[]).await.assert_success();
    unsent.pop();
    assert_eq!(service.response(list_request(&service)).await.status(), 200);
}

#[tokio::test]
async fn an_organisation_cannot_take_all_permits() {
    let service = Service::start_configured(&["--max-concurrent-requests", "4"]).await;
    let (_, other_key) = service.add_organisation("Other").await;
    let ping = async |key: &str| {
        service.response(Request::get(uri("/ping/v1", key, &[])).body(Body::empty()).unwrap()).await
    };
    let unsent = [ping(&service.key).await, ping(&service.key).await];
    assert_eq!(ping(&service.key).await.status(), 503);
    assert_eq!(ping(&other_key).await.status(), 200);
    drop(unsent);
    assert_eq!(ping(&service.key).await.status(), 200);
}

/// A list that the client does not read.
async fn unread_list(listening: &Listening) -> TcpStream {
    listening.service.add_a_list_of_long_notices().await;
    let list = uri(LIST, &listening.service.key, &[("cuRefNo", MANAGER), ("limit", "500")]);
    let mut stream = listening.connect().await;
    stream.write_all(&[preface_without_a_window(), get(1, &list)].concat()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_permit_is_held_until_the_answer_is_sent() {
    let listening = Listening::start(&["--max-concurrent-requests", "1"]).await;
    let service = &listening.service;
    let mut stream = unread_list(&listening).await;
    let ping = async || service.get_from("/ping/v1", &[]).await.status;
    // Answered, and not sent.
    while service.samples(&["http_requests_total"]).await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ping().await, 503);

    let all = [window_update(0, 2_000_000), window_update(1, 2_000_000)].concat();
    stream.write_all(&all).await.unwrap();
    let mut received = vec![0; 1_000_000];
    stream.read_exact(&mut received).await.unwrap();
    while ping().await != 200 {}
}

/// Not even one that goes on with other requests.
#[tokio::test]
async fn a_client_that_does_not_read_an_answer_is_closed() {
    let listening = Listening::start(&["--idle-timeout", "300ms", "--header-timeout", "100ms"]).await;
    let mut stream = unread_list(&listening).await;
    for number in (3..).step_by(2) {
        let further = [get(number, "/livez"), window_update(number, 1000), window_update(0, 1000)].concat();
        let written = stream.write_all(&further).await;
        if written.is_err() || matches!(stream.read(&mut [0; 4096]).await, Ok(0) | Err(_)) {
            break;
        }
    }
}

/// Of HTTP/1.1, as soon as the system has no more room for it.
#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_closed() {
    let listening = Listening::start(&["--idle-timeout", "300ms", "--header-timeout", "100ms"]).await;
    let mut stream = listening.connect().await;
    let script = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: h\r\n\r\n";
    stream.write_all(&script.repeat(20)).await.unwrap();
    let open = ["connections_open"];
    while listening.service.samples(&open).await != ["customer_match_connections_open 1"] {
        tokio::task::yield_now().await;
    }
    while listening.service.samples(&open).await != ["customer_match_connections_open 0"] {
        tokio::task::yield_now().await;
    }
}
