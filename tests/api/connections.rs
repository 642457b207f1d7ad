//! Real connections, and abusive clients.

use rstest::rstest;
use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::binary::{Server, on};
use crate::support::listening::{Listening, parse, read_to_end};
use crate::support::{CUSTOMER, DETAIL, MANAGER, MATCH, Service};

/// HTTP/2's preface and an empty frame of the client's settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

impl Listening {
    /// Sends a match; the test holds a lock that its writer waits for.
    async fn match_with_header(&self, header: &str) -> TcpStream {
        let body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }).to_string();
        let mut stream = self.connect().await;
        let head = format!(
            "POST {MATCH}?apiKey={} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{header}Content-Length: {}\r\n\r\n",
            self.service.key,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        stream
    }
}

async fn wait_for_a_lock(service: &Service) {
    service.database.lock_waits().await.until(|_| true).await;
}

#[rstest]
#[case::nothing(b"")]
#[case::half_a_preface(b"PRI * HT")]
#[case::half_a_line(b"GET /live")]
#[case::half_the_headers(b"GET /livez HTTP/1.1\r\nHost: h\r\n")]
#[case::a_preface_and_no_request(PREFACE)]
#[case::half_a_frame(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x40\x01")]
#[case::half_the_next_headers(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\nGET /livez HTTP/1.1\r\n")]
#[case::no_further_request(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n")]
#[tokio::test]
async fn a_connection_without_a_request_in_time_is_closed(#[case] bytes: &[u8]) {
    let listening = Listening::start(&["--header-timeout", "200ms", "--idle-timeout", "300ms"]).await;
    listening.exchange(bytes).await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_408() {
    let listening = Listening::start(&["--body-timeout", "200ms"]).await;
    let head = "POST /api/v1/customer/create HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{";
    parse(&listening.exchange(head.as_bytes()).await).assert_error(408, "INTERNAL_REQUEST_TIMEOUT");
}

/// The declared length is enough: the server does not wait for the body.
#[rstest]
#[case::as_soon_as_it_is_declared("")]
#[case::without_being_sent("Expect: 100-continue\r\n")]
#[tokio::test]
async fn a_body_that_is_too_long_is_413(#[case] header: &str) {
    let listening = Listening::start(&[]).await;
    for length in [256 * 1024 + 1, 1_u64 << 40] {
        let head = format!(
            "POST {MATCH}?apiKey={} HTTP/1.1\r\nHost: h\r\n{header}Content-Length: {length}\r\n\r\n",
            listening.service.key
        );
        let answer = parse(&listening.exchange(head.as_bytes()).await);
        answer.assert_error(413, "INTERNAL_PAYLOAD_TOO_LARGE");
        assert_eq!(answer.headers["connection"], "close");
    }
}

/// A client that sends everything before it reads anything: without a lingering close the unread rest would reset the connection.
#[rstest]
#[case::of_a_known_length("Content-Length: 8388608\r\n\r\n")]
#[case::of_an_unknown_length("Transfer-Encoding: chunked\r\n\r\n800000\r\n")]
#[tokio::test]
async fn a_client_still_sending_can_read_its_413(#[case] header: &str) {
    let listening = Listening::start(&[]).await;
    let mut bytes = format!("POST {MATCH} HTTP/1.1\r\nHost: h\r\n{header}").into_bytes();
    bytes.resize(bytes.len() + (8 << 20), b' ');
    parse(&listening.exchange(&bytes).await).assert_error(413, "INTERNAL_PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let listening = Listening::start(&[]).await;
    let last = "GET /third HTTP/1.1\r\nHost: h\r\nX-Request-Id: 3\r\nConnection: close\r\n\r\n";
    let pipeline = format!(
        "GET /livez HTTP/1.1\r\nHost: h\r\nX-Request-Id: 1\r\n\r\n\
         POST {MATCH} HTTP/1.1\r\nHost: h\r\nX-Request-Id: 2\r\nContent-Length: 2\r\n\r\n{{}}{last}"
    );
    let answer = listening.exchange(pipeline.as_bytes()).await;
    let lines = answer.lines().map(str::trim_end);
    let seen: Vec<_> =
        lines.filter(|line| line.starts_with("x-request-id") || line.contains("HTTP/1.1")).collect();
    let all = seen.join(", ");
    assert!(all.contains("x-request-id: 1") && all.contains("x-request-id: 3"), "{answer}");
    let ids: Vec<_> = seen.iter().filter_map(|line| line.strip_prefix("x-request-id: ")).collect();
    assert_eq!(ids, ["1", "2", "3"]);
}

#[tokio::test]
async fn connections_of_one_client_are_limited() {
    let listening = Listening::start(&["--max-connections-per-client-ip", "2"]).await;
    let request = b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut served = Vec::new();
    for _ in 0..2 {
        let mut stream = listening.connect().await;
        stream.write_all(request).await.unwrap();
        assert_ne!(stream.read(&mut [0; 512]).await.unwrap(), 0);
        served.push(stream);
    }
    assert_eq!(listening.exchange(request).await, "", "closed at once");
    insta::assert_snapshot!(listening.service.samples(&["connection"]).await.join("\n"), @r#"
    customer_match_connection_accept_errors_total 0
    customer_match_connections_open 2
    customer_match_connections_rejected_total{limit="client_ip"} 1
    customer_match_connections_rejected_total{limit="total"} 0
    "#);
    served.pop();
    // As soon as the server has noticed that one was closed.
    let closing = b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    while listening.exchange(closing).await.is_empty() {}
    drop(served);
    while listening.service.samples(&["connections_open"]).await != ["customer_match_connections_open 0"] {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connections_are_limited() {
    let listening = Listening::start(&["--max-connections", "1", "--trusted-proxy", "127.0.0.0/8"]).await;
    let _idle = listening.connect().await;
    assert_eq!(listening.exchange(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n").await, "");
    let rejected = listening.service.samples(&["connections_rejected_total{limit=\"total\"}"]).await;
    assert_eq!(rejected, [r#"customer_match_connections_rejected_total{limit="total"} 1"#]);
}

/// The real binary with fewer file descriptors than clients: one log line, not twenty a second.
#[tokio::test]
async fn failed_accepts_are_logged_once() {
    let service = Service::start().await;
    let mut command = on(&service.database, &["serve", "--listen", "127.0.0.1:0"]);
    let log = NamedTempFile::new().unwrap();
    command.stderr(log.reopen().unwrap());
    let server = Server::start(command);
    let files = Rlimit { current: Some(48), maximum: Some(48) };
    prlimit(Some(server.process()), Resource::Nofile, files).unwrap();
    let address = server.url.strip_prefix("http://").unwrap();
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    let said =
        || std::fs::read_to_string(log.path()).unwrap().matches("connections cannot be accepted").count();
    while said() == 0 {}
    drop(clients);
    assert_eq!(reqwest::get(format!("{}/livez", server.url)).await.unwrap().status(), 200);
    server.stop();
    assert_eq!(said(), 1);
}

#[tokio::test]
async fn a_trusted_proxy_has_no_limit_of_its_own() {
    let flags = ["--max-connections-per-client-ip", "1", "--trusted-proxy", "127.0.0.0/8"];
    let listening = Listening::start(&flags).await;
    let _idle = listening.connect().await;
    let _idle = listening.connect().await;
    let answer = listening.exchange(b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn requests_above_the_concurrency_limit_are_503() {
    let listening = Listening::start(&["--max-concurrent-requests", "1"]).await;
    let service = &listening.service;
    let mut other = service.pool.begin().await.unwrap();
    sqlx::query("lock table customer").execute(&mut *other).await.unwrap();
    // A request that is still sending its body takes no permit.
    let slow = "POST /api/v1/customer/create HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{";
    let mut slow_stream = listening.connect().await;
    slow_stream.write_all(slow.as_bytes()).await.unwrap();
    let first = listening.match_with_header("Connection: close\r\n").await;
    wait_for_a_lock(service).await;

    let second = listening.match_with_header("Connection: close\r\n").await;
    let answer = parse(&read_to_end(second).await);
    answer.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
    assert_eq!(answer.headers["retry-after"], "1");
    let health = listening.exchange(b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(health.starts_with("HTTP/1.1 200 "), "{health}");

    other.rollback().await.unwrap();
    assert_eq!(parse(&read_to_end(first).await).status, 200);
    let again = listening.match_with_header("Connection: close\r\n").await;
    assert_eq!(parse(&read_to_end(again).await).status, 200);
}

/// As `nc -N` does: the client ends its sending side and waits for the answers.
#[rstest]
#[case::one("GET /livez HTTP/1.1\r\nHost: h\r\n\r\n", 1)]
#[case::two("GET /livez HTTP/1.1\r\nHost: h\r\n\r\nGET /readyz HTTP/1.1\r\nHost: h\r\n\r\n", 2)]
#[case::of_version_1_0("GET /livez HTTP/1.0\r\n\r\n", 1)]
#[tokio::test]
async fn a_half_closed_connection_is_answered_and_closed(#[case] requests: &str, #[case] answers: usize) {
    let listening = Listening::start(&[]).await;
    let mut stream = listening.connect().await;
    stream.write_all(requests.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_end(stream).await;
    assert_eq!(answer.matches("\r\n\r\n{\"success\":true}").count(), answers, "{answer:?}");
}

/// However long it takes: a write is finished whether its client has left or not.
#[tokio::test]
async fn a_write_on_a_half_closed_connection_is_answered() {
    let listening = Listening::start(&[]).await;
    let mut other = listening.service.pool.begin().await.unwrap();
    sqlx::query("lock table customer_match").execute(&mut *other).await.unwrap();
    let mut stream = listening.match_with_header("").await;
    stream.shutdown().await.unwrap();
    wait_for_a_lock(&listening.service).await;
    // A later read, whose client has left, is given up meanwhile.
    let mut reader = listening.connect().await;
    let detail = format!(
        "GET {DETAIL}?apiKey={}&identityId={} HTTP/1.1\r\nHost: h\r\n\r\n",
        listening.service.key,
        "a".repeat(32)
    );
    sqlx::query("lock table customer_identity").execute(&mut *other).await.unwrap();
    reader.write_all(detail.as_bytes()).await.unwrap();
    reader.shutdown().await.unwrap();
    assert_eq!(read_to_end(reader).await, "");
    other.rollback().await.unwrap();
    assert_eq!(parse(&read_to_end(stream).await).status, 200);
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_400() {
    let listening = Listening::start(&[]).await;
    let mut stream = listening.connect().await;
    let cut = format!(
        "POST {MATCH}?apiKey={} HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{{",
        listening.service.key
    );
    stream.write_all(cut.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    parse(&read_to_end(stream).await).assert_error(400, "INTERNAL_VALIDATION_FAILED");
}

/// CVE-2023-44487.
#[tokio::test]
async fn streams_that_are_reset_at_once_end_their_connection() {
    let listening = Listening::start(&[]).await;
    let mut bytes = PREFACE.to_vec();
    for stream in (1..4000_u32).step_by(2) {
        // GET / with nothing more, from the static table; then its reset.
        bytes.extend([0, 0, 3, 1, 5].into_iter().chain(stream.to_be_bytes()).chain([0x82, 0x86, 0x84]));
        bytes.extend([0, 0, 4, 3, 0].into_iter().chain(stream.to_be_bytes()).chain([0, 0, 0, 8]));
    }
    let mut stream = listening.connect().await;
    // It may be closed while we are still sending.
    let _ = stream.write_all(&bytes).await;
    let answer = read_to_end(stream).await;
    assert!(answer.contains("too_many_resets"), "{answer:?}");
}
