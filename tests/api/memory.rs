//! Whatever a thousand connections of one client do, the server stays below 256 MB and answers others.

use futures_util::future::join_all;
use rstest::rstest;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::binary::{Server, on};
use crate::support::http2::{begin_post, get, preface_without_a_window};
use crate::support::listening::read_to_end;
use crate::support::{BATCH, CREATE, CUSTOMER, LIST, MANAGER, NDJSON, Service, uri};

/// The most that the server has had in memory so far, in MB.
fn peak_memory(server: &Server) -> u64 {
    let path = format!("/proc/{}/status", server.process().as_raw_nonzero());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() / 1024
}

/// Bodies over HTTP/1.1 that do not end.
fn bodies() -> Vec<u8> {
    let mut bytes =
        format!("POST {CREATE} HTTP/1.1\r\nHost: h\r\nContent-Length: 262144\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + 260_000, b' ');
    bytes
}

/// Bodies over HTTP/2 that do not end, as many as a connection allows.
fn multiplexed_bodies() -> Vec<u8> {
    let posts = (0..32).map(|number| begin_post(2 * number + 1, CREATE, &[b' '; 2000]));
    [preface_without_a_window(), posts.collect::<Vec<_>>().concat()].concat()
}

/// Headers that are long, and a body that does not end.
fn headers() -> Vec<u8> {
    let mut bytes = format!("POST {CREATE} HTTP/1.1\r\nHost: h\r\nX: ").into_bytes();
    bytes.resize(bytes.len() + 30_000, b'x');
    bytes.extend(b"\r\nContent-Length: 1000\r\n\r\n{");
    bytes
}

/// Streams over HTTP/1.1 whose first line does not end.
fn streams(key: &str) -> Vec<u8> {
    let uri = uri(BATCH, key, &[]);
    let head = format!(
        "POST {uri} HTTP/1.1\r\nHost: h\r\nContent-Type: {NDJSON}\r\nContent-Length: 1000000000\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + 260_000, b' ');
    bytes
}

/// Streams whose answers are not read, and lines with the longest notice that wait for one another.
fn streams_that_are_not_read(key: &str) -> Vec<u8> {
    let mut bytes = streams(key);
    bytes.truncate(bytes.len() - 260_000);
    let notice = "\u{10348}".repeat(10_000);
    let line = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": notice });
    bytes.extend("{}\n".repeat(5000).bytes());
    bytes.extend(format!("{line}\n").repeat(100).bytes());
    bytes
}

/// Pages of text that are not read. Few on each connection, as making them takes a debug build long.
fn pages() -> Vec<u8> {
    let gets = (0..4).map(|number| get(2 * number + 1, "/errors"));
    [preface_without_a_window(), gets.collect::<Vec<_>>().concat()].concat()
}

/// The same as long, over HTTP/1.1 and until the system has no more room.
fn files() -> Vec<u8> {
    b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: h\r\n\r\n".repeat(10)
}

#[rstest]
#[case::bodies(bodies(), 0)]
#[case::multiplexed_bodies(multiplexed_bodies(), 0)]
#[case::headers(headers(), 0)]
#[case::pages(pages(), 4000)]
#[case::files(files(), 1000)]
#[tokio::test]
async fn a_thousand_connections_of_one_client_are_bounded(#[case] bytes: Vec<u8>, #[case] answered: usize) {
    bombard(1000, answered, |_| bytes).await;
}

/// Lists of a megabyte that are not read.
#[tokio::test]
async fn lists_that_are_not_read_are_bounded() {
    let list = |key: &str| {
        let list = uri(LIST, key, &[("cuRefNo", MANAGER), ("limit", "500")]);
        let gets = (0..32).map(|number| get(2 * number + 1, &list));
        [preface_without_a_window(), gets.collect::<Vec<_>>().concat()].concat()
    };
    bombard(12, 12 * 32, list).await;
}

#[rstest]
#[case::begun(streams, 1000)]
#[case::not_read(streams_that_are_not_read, 60)]
#[tokio::test]
async fn streams_are_bounded(#[case] bytes: fn(&str) -> Vec<u8>, #[case] connections: usize) {
    bombard(connections, 0, bytes).await;
}

async fn bombard(connections: usize, answered: usize, bytes: impl FnOnce(&str) -> Vec<u8>) {
    // This process has the other end of each connection.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    let service = Service::start().await;
    service.add_a_list_of_long_notices().await;
    let (_, other_key) = service.add_organisation("Other").await;
    let mut server = Server::start(on(
        &service.database,
        &["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
    ));
    let metrics = format!("http://{}/metrics", server.admin_address());
    let answered_so_far = async || {
        let text = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
        let samples = text.lines().filter(|line| line.starts_with("customer_match_http_requests_total{"));
        samples.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum::<usize>()
    };
    let address = server.url.trim_start_matches("http://").parse().unwrap();
    let bytes = bytes(&service.key);
    let attack = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may be closed while this sends.
        let _ = stream.write_all(&bytes).await;
        stream
    };
    let attackers = join_all((0..connections).map(|_| attack())).await;

    while answered_so_far().await < answered {}
    let call = format!("GET /ping/v1?apiKey={other_key} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    for _ in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
        let mut other = socket.connect(address).await.unwrap();
        other.write_all(call.as_bytes()).await.unwrap();
        let answer = read_to_end(other).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let peak = peak_memory(&server);
    assert!(peak < 256, "{peak} MB");
    drop(attackers);
}
