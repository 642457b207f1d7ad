//! A Postgres or a cluster, two servers on it, and the relays between.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use customer_match_proof::api::Api;
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio::sync::watch;

use super::client_relay::ClientRelay;
use super::cluster;
use super::database_relay::DatabaseRelay;
use super::node::Node;
use super::postgres::Postgres;
use super::server::Server;

/// A write that is delayed on its way from one server does harm when the other acknowledges a later one.
const SERVERS: usize = 2;
/// Organisations beside the one that most calls are in: more than a server has writers.
const NEIGHBOURS: usize = 10;

pub struct Rig {
    pub postgres: Postgres,
    /// None without a cluster.
    pub workers: Vec<Node>,
    pub servers: Vec<Server>,
    pub socket: watch::Sender<PathBuf>,
    pub client_relays: Vec<ClientRelay>,
    pub database_relays: Vec<DatabaseRelay>,
    /// The ids and keys of the organisations.
    pub organisations: Vec<(i64, String)>,
    /// Removed last.
    directory: TempDir,
}

impl Rig {
    /// `cluster`: an empty database of a coordinator. Else Postgres is a new one.
    pub async fn build(binary: PathBuf, cluster: Option<PgConnectOptions>) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("customer-match-proof-")?;
        // For the user that runs Postgres for root.
        fs::set_permissions(&directory, Permissions::from_mode(0o711))?;
        let (postgres, workers) = match cluster {
            None => (Postgres::start(directory.path().join("data")).await?, Vec::new()),
            Some(options) => {
                let workers = cluster::workers(&options).await?;
                (Postgres::coordinator(options).await?, workers)
            }
        };
        let socket = watch::Sender::new(postgres.socket()?);
        let (mut servers, mut database_relays) = (Vec::new(), Vec::new());
        for number in 0..SERVERS {
            let relay = DatabaseRelay::start(socket.subscribe()).await?;
            let log = directory.path().join(format!("server-{number}.log"));
            servers.push(Server::new(binary.clone(), postgres.url(relay.address)?, &log)?);
            database_relays.push(relay);
        }
        servers[0].migrate().await?;
        if !workers.is_empty() {
            servers[0].distribute().await?;
        }
        let mut organisations = Vec::new();
        for number in 0..=NEIGHBOURS {
            organisations.push(servers[0].create_organisation(&format!("Proof {number}")).await?);
        }
        let mut client_relays = Vec::new();
        for server in &mut servers {
            client_relays.push(ClientRelay::start(server.start().await?)?);
        }
        Ok(Self {
            postgres,
            workers,
            servers,
            socket,
            client_relays,
            database_relays,
            organisations,
            directory,
        })
    }

    /// Where clients call, by server, then by organisation.
    pub fn apis(&self) -> anyhow::Result<Vec<Vec<Api>>> {
        let of_server = |relay: &ClientRelay| {
            let first = Api::new(&format!("http://{}", relay.address), "")?;
            Ok(self.organisations.iter().map(|(_, key)| first.with_key(key)).collect())
        };
        self.client_relays.iter().map(of_server).collect()
    }

    /// Keeps the directory with the servers' logs.
    pub fn keep_logs(self) -> PathBuf {
        self.directory.keep()
    }

    /// Ends all that may be in flight anywhere, and starts again.
    pub async fn quiesce(&mut self) -> anyhow::Result<()> {
        for (server, relay) in self.servers.iter_mut().zip(&self.client_relays) {
            server.stop().await?;
            relay.server_down();
        }
        for worker in &self.workers {
            worker.restart().await?;
        }
        self.socket.send_replace(self.postgres.restart().await?);
        for (server, relay) in self.servers.iter_mut().zip(&self.client_relays) {
            relay.server_up(server.start().await?).await;
        }
        Ok(())
    }

    pub async fn tear_down(&mut self) -> anyhow::Result<()> {
        for server in &mut self.servers {
            server.kill().await?;
        }
        for worker in &self.workers {
            worker.start_if_down().await?;
        }
        self.postgres.tear_down().await
    }
}
