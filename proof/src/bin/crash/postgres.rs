//! The Postgres that servers connect to, killed and started again as its supervisor would.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use private_postgres::{PrivatePostgres, Settings};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::cluster;
use super::node::{self, Node};

pub enum Postgres {
    /// Durable, and not the server's own, so that each can be killed by itself.
    Private { data_dir: PathBuf, running: Option<PrivatePostgres> },
    /// Of a cluster.
    Coordinator { node: Node, options: PgConnectOptions },
}

impl Postgres {
    /// Makes a new one in a directory that does not exist yet.
    pub async fn start(data_dir: PathBuf) -> anyhow::Result<Self> {
        let running = Some(PrivatePostgres::start(&settings(&data_dir)).await?);
        Ok(Self::Private { data_dir, running })
    }

    pub async fn coordinator(options: PgConnectOptions) -> anyhow::Result<Self> {
        let (node, sockets) = cluster::coordinator(&options).await?;
        Ok(Self::Coordinator { node, options: options.socket(sockets) })
    }

    /// Past every relay.
    pub fn connect_options(&self) -> anyhow::Result<PgConnectOptions> {
        match self {
            Self::Private { running, .. } => {
                Ok(running.as_ref().context("Postgres does not run")?.connect_options())
            }
            Self::Coordinator { options, .. } => Ok(options.clone()),
        }
    }

    pub fn socket(&self) -> anyhow::Result<PathBuf> {
        let options = self.connect_options()?;
        let directory = options.get_socket().context("Postgres listens on a socket")?;
        Ok(directory.join(format!(".s.PGSQL.{}", options.get_port())))
    }

    /// For a server, through its relay.
    pub fn url(&self, relay: SocketAddr) -> anyhow::Result<String> {
        let mut url = self.connect_options()?.to_url_lossy();
        url.set_ip_host(relay.ip()).and_then(|()| url.set_port(Some(relay.port()))).ok().context("a URL")?;
        url.set_query(Some("sslmode=disable"));
        Ok(url.into())
    }

    pub async fn kill(&self) -> anyhow::Result<()> {
        match self {
            Self::Private { data_dir, .. } => node::kill(&data_dir.join("postgres/data")).await,
            Self::Coordinator { node, .. } => node.kill().await,
        }
    }

    /// Stops what is left and starts again, which recovers. Returns the socket.
    pub async fn restart(&mut self) -> anyhow::Result<PathBuf> {
        match self {
            Self::Private { data_dir, running } => {
                stop(running).await;
                *running = Some(PrivatePostgres::start(&settings(data_dir)).await?);
            }
            Self::Coordinator { node, .. } => node.restart().await?,
        }
        self.socket()
    }

    /// A cluster goes on running.
    pub async fn tear_down(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Private { running, .. } => {
                stop(running).await;
                Ok(())
            }
            Self::Coordinator { node, .. } => node.start_if_down().await,
        }
    }
}

async fn stop(running: &mut Option<PrivatePostgres>) {
    if let Some(running) = running.take() {
        // One that was killed does not end well.
        let _ = running.stop().await;
    }
}

fn settings(data_dir: &Path) -> Settings {
    Settings { data_dir: Some(data_dir.to_owned()), ..Settings::default() }
}
