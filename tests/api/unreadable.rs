//! What is no request that can be read has an answer like every other.

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
async fn is_refused_in_the_documented_shape(#[case] octets: Vec<u8>, #[case] status: u16) {
    let listening = Listening::start(&[]).await;
    let all = listening.exchange(&octets).await;
    let answer = parse(&all[all.rfind("HTTP/1.1 ").unwrap()..]);
    answer.assert_error(status, "INTERNAL_VALIDATION_FAILED");
    assert_ne!(answer.body["error"]["description"], "");
    for header in ["x-request-id", "date", "link", "x-content-type-options", "access-control-allow-origin"] {
        assert!(answer.headers.contains_key(header), "{header} is not in {answer:?}");
    }
    assert_eq!(answer.headers["connection"], "close");
    assert_eq!(answer.headers["content-type"], "application/json");
    let counted = listening.service.samples(&[r#"http_requests_total{route="(none)""#]).await;
    assert_eq!(
        counted,
        [r#"customer_match_http_requests_total{route="(none)",method="other",status="4xx"} 1"#]
    );
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

/// Nothing of what is said by itself looks like a refusal.
#[tokio::test]
async fn who_waits_to_be_told_to_continue_is_told() {
    let listening = Listening::start(&[]).await;
    let mut stream = listening.connect().await;
    let head = "POST /api/v1/customer/create HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
}
