//! A service on a real listener, for tests of connections.

use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use customer_match::config::Config;
use customer_match::server;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Answer, Service};

/// A service that listens.
pub struct Listening {
    pub service: Service,
    address: SocketAddr,
}

impl Listening {
    /// With these flags of `customer-match serve`.
    pub async fn start(flags: &[&str]) -> Self {
        let service = Service::start_configured(flags).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config::from_flags(flags).unwrap();
        let (router, draining) = (service.router.clone(), service.draining.clone());
        let connections = service.connections.clone();
        tokio::spawn(async move {
            server::serve(listener, None, router, &config, connections, draining).await;
        });
        Self { service, address }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// From another IP address of this machine.
    pub async fn connect_from(&self, ip: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((ip, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes the connection.
    pub async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_to_end(stream).await
    }
}

/// Everything until the server closes, also with a reset.
pub async fn read_to_end(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer.iter().map(|byte| char::from(*byte)).collect()
}

/// A single answer.
#[track_caller]
pub fn parse(answer: &str) -> Answer {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let mut lines = head.lines();
    let status: StatusCode = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
    };
    let headers: HeaderMap = lines.map(header).collect();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"));
    Answer { status: status.as_u16(), headers, body }
}
