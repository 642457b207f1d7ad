//! HTTPS by the server itself.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, Version, header};
use customer_match::config::Config;
use customer_match::server;
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rstest::rstest;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::binary::{Server, command, on, run, run_refused};
use crate::support::{CUSTOMER, MANAGER, MATCH, Service, json_request};

/// A self-signed certificate for this machine and its key, in files.
pub struct Files {
    directory: TempDir,
    pub certificate: CertificateDer<'static>,
}

impl Files {
    pub fn create() -> Self {
        let directory = TempDir::new().unwrap();
        let certificate = renew(directory.path(), NOT_AFTER[0]);
        Self { directory, certificate }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().into()
    }

    /// The flags of `customer-match serve` for them.
    pub fn flags(&self) -> [String; 4] {
        ["--tls-certificate".into(), self.path("cert.pem"), "--tls-key".into(), self.path("key.pem")]
    }
}

/// When certificates end: in 2049, which certificates write with two digits of the year, and after that.
const NOT_AFTER: [i64; 2] = [2_500_000_000, 4_000_000_000];

/// Replaces the certificate.
fn renew(directory: &Path, not_after: i64) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(["localhost", "127.0.0.1"].map(String::from)).unwrap();
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(not_after.unsigned_abs());
    let signing_key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&signing_key).unwrap();
    std::fs::write(directory.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

/// A connection of a client that speaks this version and trusts this certificate only.
pub async fn connect(
    certificate: &CertificateDer<'static>,
    protocol: &str,
    address: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![protocol.into()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Sends one request, in the version that was agreed upon.
pub async fn send(stream: TlsStream<TcpStream>, mut request: Request<Body>) -> (u16, Version, String) {
    let host = request.uri().authority().unwrap().as_str().parse().unwrap();
    request.headers_mut().insert(header::HOST, host);
    let version_2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = TokioIo::new(stream);
    let answer = if version_2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (status, version) = (answer.status().as_u16(), answer.version());
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, version, String::from_utf8(body.into()).unwrap())
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

/// A service that listens for HTTPS.
struct Listening {
    service: Service,
    address: SocketAddr,
    files: Files,
}

impl Listening {
    async fn start(flags: &[&str]) -> Self {
        let files = Files::create();
        let tls = files.flags();
        let flags: Vec<_> = flags.iter().copied().chain(tls.iter().map(String::as_str)).collect();
        let config = Config::from_flags(&flags).unwrap();
        let service = Service::start_configured(&flags).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_, certificate) = watch::channel(config.tls.load().unwrap().unwrap());
        let (router, draining) = (service.router.clone(), service.draining.clone());
        let connections = service.connections.clone();
        tokio::spawn(async move {
            server::serve(listener, Some(certificate), router, &config, connections, draining).await;
        });
        Self { service, address, files }
    }

    async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        connect(&self.files.certificate, protocol, &self.address.to_string()).await.unwrap()
    }

    async fn assert_serves(&self) {
        assert_eq!(send(self.connect("h2").await, get("https://localhost/livez")).await.0, 200);
    }
}

#[rstest]
#[case::version_1("http/1.1", Version::HTTP_11)]
#[case::version_2("h2", Version::HTTP_2)]
#[tokio::test]
async fn a_match_is_made(#[case] protocol: &str, #[case] version: Version) {
    let listening = Listening::start(&[]).await;
    let url = format!("https://localhost:{}", listening.address.port());
    let body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    let call = json_request(&format!("{url}{MATCH}?apiKey={}", listening.service.key));
    let call = call.body(Body::from(body.to_string())).unwrap();
    let answer = send(listening.connect(protocol).await, call).await;
    assert_eq!(answer, (200, version, "{\"success\":true}".into()));
    assert_eq!(listening.service.relations().await.len(), 1);

    let (_, _, page) = send(listening.connect(protocol).await, get(&url)).await;
    assert!(page.contains(&format!("{url}{MATCH}")), "{page}");
}

/// As `openssl s_client` does at the end of its input.
#[tokio::test]
async fn a_half_closed_connection_is_answered() {
    let listening = Listening::start(&[]).await;
    let mut stream = listening.connect("http/1.1").await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_client_without_tls_is_disconnected() {
    let listening = Listening::start(&[]).await;
    let mut plain = TcpStream::connect(listening.address).await.unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A TLS alert, or a reset if the alert was not read.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    listening.assert_serves().await;
}

#[tokio::test]
async fn a_silent_client_delays_no_other_and_is_disconnected() {
    let listening = Listening::start(&["--header-timeout", "3s"]).await;
    let mut silent = TcpStream::connect(listening.address).await.unwrap();
    listening.assert_serves().await;
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
}

#[test]
fn an_unusable_certificate_is_rejected_in_one_line() {
    let (files, others) = (Files::create(), Files::create());
    let (certificate, key) = (files.path("cert.pem"), files.path("key.pem"));
    let (other, missing) = (others.path("key.pem"), files.path("missing"));
    let refused = |flags: &[&str]| run_refused(command(&[&["config", "check"], flags].concat()));
    let together =
        |certificate: &str, key: &str| refused(&["--tls-certificate", certificate, "--tls-key", key]);
    let only = "error: --tls-certificate and --tls-key need each other: give both or neither\n";
    assert_eq!(refused(&["--tls-certificate", &certificate]), only);
    assert_eq!(refused(&["--tls-key", &key]), only);
    assert_eq!(
        together(&certificate, &other),
        format!("error: --tls-key: {other} is not the key of the certificate in {certificate}\n")
    );
    assert_eq!(
        together(&missing, &key),
        format!(
            "error: --tls-certificate: {missing} cannot be read: No such file or directory (os error 2)\n"
        )
    );
    assert_eq!(together(&key, &key), format!("error: --tls-certificate: {key} has no certificate in PEM\n"));
    assert_eq!(
        together(&certificate, &certificate),
        format!("error: --tls-key: {certificate} has no unencrypted private key in PEM\n")
    );
    run(command(&["config", "check", "--tls-certificate", &certificate, "--tls-key", &key]));
    let mut unset = command(&["config", "check"]);
    unset.env("CUSTOMER_MATCH_TLS_CERTIFICATE", "").env("CUSTOMER_MATCH_TLS_KEY", "");
    run(unset);
}

#[tokio::test]
async fn a_renewed_certificate_needs_no_restart() {
    let service = Service::start().await;
    let files = Files::create();
    let tls = files.flags();
    let tls = tls.each_ref().map(String::as_str);
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut server = Server::start(on(&service.database, &[&serve[..], &tls[..]].concat()));
    let metrics = format!("http://{}/metrics", server.admin_address());
    let address = server.url.strip_prefix("https://").unwrap();
    run(command(&[&["healthcheck", "--listen", address], &tls[..]].concat()));
    assert_eq!(not_after(&metrics).await, NOT_AFTER[0]);
    let old = connect(&files.certificate, "h2", address).await.unwrap();

    // An unusable certificate changes nothing.
    std::fs::write(files.path("key.pem"), "").unwrap();
    server.signal(Signal::HUP);
    let renewed = renew(files.directory.path(), NOT_AFTER[1]);
    server.signal(Signal::HUP);
    let signalled = Instant::now();
    let mut connected = connect(&renewed, "h2", address).await;
    while connected.is_err() && signalled.elapsed() < Duration::from_secs(5) {
        connected = connect(&renewed, "h2", address).await;
    }
    for connection in [connected.unwrap(), old] {
        assert_eq!(send(connection, get("https://localhost/livez")).await.0, 200);
    }
    assert_eq!(not_after(&metrics).await, NOT_AFTER[1]);
    server.stop();
}

async fn not_after(metrics: &str) -> i64 {
    let text = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    let name = "customer_match_tls_certificate_not_after_timestamp_seconds ";
    let sample = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    sample.parse::<f64>().unwrap() as i64
}
