//! `customer-match healthcheck`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::{Body, Bytes};
use axum::http::{Request, header};
use clap::Args;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_util::either::Either;

use super::local_tls;
use super::output::Output;
use crate::config::{Admin, Listen, ListenAddress, Tls};

const TIMEOUT: Duration = Duration::from_secs(3);

/// Ask a server on this machine whether it is ready; the exit status is 0 if it is
#[derive(Args)]
pub(super) struct Healthcheck {
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    tls: Tls,
    #[command(flatten)]
    admin: Admin,
    #[command(flatten)]
    output: Output,
}

impl Healthcheck {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // The admin listener answers also when clients have all connections.
        let (address, scheme, tls) = match self.admin.address {
            Some(address) => (address, "http", false),
            None => (self.listen.address, self.tls.scheme(), self.tls.is_on()),
        };
        let address = reachable(address);
        let url = format!("{scheme}://{address}/readyz");
        let (status, body) = tokio::time::timeout(TIMEOUT, get_readyz(&address, tls))
            .await
            .with_context(|| format!("no response from {url} within {} s", TIMEOUT.as_secs()))?
            .with_context(|| format!("no response from {url}"))?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status != 200 {
            let reason = body["error"]["description"].as_str().unwrap_or("no readable reason");
            bail!("not ready: {url} answered {status}: {reason}");
        }
        if body["readOnly"] == true {
            let read_only = json!({ "ready": true, "readOnly": true });
            return self.output.print(&read_only, || "ready; the database is read-only".into());
        }
        self.output.print(&json!({ "ready": true }), || "ready".into())
    }
}

async fn get_readyz(address: &ListenAddress, tls: bool) -> anyhow::Result<(u16, Bytes)> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    let stream = if tls { Either::Right(local_tls::connect(stream).await?) } else { Either::Left(stream) };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/readyz").header(header::HOST, address.to_string()).body(Body::empty())?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

/// Replaces the unspecified address, on which a server listens on all interfaces, by the loopback address.
fn reachable(ListenAddress { host, port }: ListenAddress) -> ListenAddress {
    let host = match host.parse() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.to_string(),
        _ => host,
    };
    ListenAddress { host, port }
}
