//! What clients can make the server keep: bodies that do not end, pages that are long.

use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::listening::{Listening, parse, read_to_end};
use crate::support::{CREATE, LIST, MANAGER, MATCH, Service};

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
                    where c.company_name = 'At Qx' and c.cu_ref_no in (low_cu_ref_no, high_cu_ref_no)";
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
