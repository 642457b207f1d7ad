//! Bytes that are no HTTP request: hyper answers with a bare status, the server counts them.

use std::fmt::Write;

use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::listening::{Listening, parse};

const GOOD: &[u8] = b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n";

/// A request with these lines after the first.
fn get(lines: &str) -> Vec<u8> {
    format!("GET /livez HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n").into_bytes()
}

fn many_headers() -> String {
    (0..101).fold(String::new(), |mut lines, number| {
        write!(lines, "a{number}: b\r\n").unwrap();
        lines
    })
}

#[rstest]
#[case::garbage(b"\0\x01\x02garbage\r\n\r\n".to_vec(), 400)]
#[case::tls(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(), 400)]
#[case::another_version(b"GET /livez HTTP/3.0\r\n\r\n".to_vec(), 400)]
#[case::another_protocol(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), 400)]
#[case::a_path_that_is_no_utf8(b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 400)]
#[case::a_name_that_is_none(get("a b: c"), 400)]
#[case::a_length_that_is_none(get("Content-Length: -1"), 400)]
#[case::two_lengths(get("Content-Length: 1\r\nContent-Length: 2"), 400)]
#[case::an_unknown_encoding(get("Transfer-Encoding: rot13"), 400)]
#[case::long_headers(get(&format!("X-Long: {}", "a".repeat(100_000))), 431)]
#[case::many_headers(get(&many_headers()), 431)]
#[case::a_long_path(format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(100_000)).into_bytes(), 431)]
#[case::after_a_good_one([GOOD, b"\0\r\n\r\n"].concat(), 400)]
#[tokio::test]
async fn is_rejected_and_counted(#[case] bytes: Vec<u8>, #[case] status: u16) {
    let listening = Listening::start(&[]).await;
    let all = listening.exchange(&bytes).await;
    let answer = &all[all.rfind("HTTP/1.1 ").unwrap()..];
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer:?}");
    assert!(answer.ends_with("\r\n\r\n"), "a head and no body: {answer:?}");
    let counter = ["http_malformed_requests_total"];
    while listening.service.samples(&counter).await == ["customer_match_http_malformed_requests_total 0"] {
        tokio::task::yield_now().await;
    }
    assert_eq!(listening.service.samples(&counter).await, ["customer_match_http_malformed_requests_total 1"]);
}

/// It is a request, so the answer has the API's shape.
#[rstest]
#[case::missing("GET /livez HTTP/1.1\r\n\r\n", 400)]
#[case::missing_beside_an_absolute_target("GET http://h/livez HTTP/1.1\r\n\r\n", 400)]
#[case::twice("GET /livez HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n", 400)]
#[case::invalid("GET /livez HTTP/1.1\r\nHost: h/livez\r\n\r\n", 400)]
#[case::missing_in_version_1_0("GET /livez HTTP/1.0\r\n\r\n", 200)]
#[tokio::test]
async fn a_host_is_there_once(#[case] request: &str, #[case] status: u16) {
    let listening = Listening::start(&[]).await;
    let answer = parse(&listening.exchange(request.as_bytes()).await);
    assert_eq!(answer.status, status);
    if status == 400 {
        answer.assert_error(400, "INTERNAL_VALIDATION_FAILED");
    }
    assert!(answer.headers.contains_key("x-request-id"));
}

/// Which of two lengths a proxy in front believes decides where the next request begins.
#[tokio::test]
async fn a_request_with_two_kinds_of_length_is_the_last_of_its_connection() {
    let listening = Listening::start(&[]).await;
    let both =
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h";
    let answer = parse(&listening.exchange(&get(both)).await);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["connection"], "close");
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it() {
    let listening = Listening::start(&[]).await;
    let mut stream = listening.connect().await;
    let head = "POST /api/v1/customer/create HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
}
