//! What is broken, when, and how soon all is well again.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::prelude::*;
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};

use super::client_relay::{Proxy, Target};
use super::postgres::Postgres;
use super::server::Server;
use customer_match_proof::client::Client;

/// Who has not recovered by then never does.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts to be served.
const PAUSE: Duration = Duration::from_millis(10);
/// What is broken at the same time is broken within this.
const TOGETHER: Duration = Duration::from_millis(800);
/// How many connections a cut ends.
const SHARES: [f64; 3] = [0.1, 0.5, 1.0];

/// A way to break something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    KillPostgres,
    KillServer,
    CutClients,
    CutDatabase,
}

/// A part of the run.
pub struct Phase {
    pub name: &'static str,
    /// What is broken in each round, at the same time.
    pub rounds: Vec<Vec<Trouble>>,
    /// How long nothing is broken before each round, and after the last.
    pub calm: Range<f64>,
}

/// One after another, then mixed: Postgres and the server are killed ten times each, or once if it is to be quick.
pub fn phases(quick: bool, random: &mut StdRng) -> Vec<Phase> {
    use Trouble::{CutClients, CutDatabase, KillPostgres, KillServer};
    let (kills, cuts, calm) = if quick { (1, 1, 0.3..0.6) } else { (5, 15, 1.0..6.0) };
    let mut phases = vec![Phase { name: "nothing", rounds: Vec::new(), calm: calm.clone() }];
    for (name, trouble, times) in [
        ("Postgres killed", KillPostgres, kills),
        ("server killed", KillServer, kills),
        ("clients cut off", CutClients, cuts),
        ("database cut off", CutDatabase, cuts),
    ] {
        phases.push(Phase { name, rounds: vec![vec![trouble]; times], calm: calm.clone() });
    }
    if !quick {
        // Both at once is a machine that goes down.
        let both = vec![KillPostgres, KillServer];
        let kills =
            [vec![KillPostgres], vec![KillServer], both.clone(), vec![KillPostgres], vec![KillServer], both];
        let mut rounds: Vec<_> = kills.into_iter().chain([vec![KillPostgres], vec![KillServer]]).collect();
        for round in &mut rounds {
            round.extend([CutClients, CutDatabase].into_iter().filter(|_| random.random_bool(0.6)));
        }
        phases.push(Phase { name: "mixed", rounds, calm });
    }
    phases
}

/// A Postgres, a server and the ways between.
pub struct Rig {
    postgres: Postgres,
    server: Server,
    socket: watch::Sender<PathBuf>,
    address: watch::Sender<SocketAddr>,
    clients: Proxy,
    database: Proxy,
    /// The last to go.
    folder: TempDir,
}

impl Rig {
    /// Also returns the key.
    pub async fn build(binary: PathBuf) -> anyhow::Result<(Self, String)> {
        let folder = TempDir::with_prefix("customer-match-proof-")?;
        // For the user that runs Postgres for root.
        fs::set_permissions(&folder, Permissions::from_mode(0o711))?;
        let postgres = Postgres::start(folder.path().join("data")).await?;
        let socket = watch::Sender::new(postgres.socket()?);
        let database = Proxy::before(Target::Postgres(socket.subscribe())).await?;
        // As the private Postgres names them.
        let url = format!("postgres://customer_match@{}/customer_match?sslmode=disable", database.address);
        let mut server = Server::new(binary, url, &folder.path().join("server.log"))?;
        let key = server.prepare().await?;
        let address = watch::Sender::new(server.start().await?);
        let clients = Proxy::before(Target::Server(address.subscribe())).await?;
        Ok((Self { postgres, server, socket, address, clients, database, folder }, key))
    }

    /// Where clients call, whatever happens behind it.
    pub fn url(&self) -> String {
        format!("http://{}", self.clients.address)
    }

    /// The server's, for whoever must look.
    pub fn keep_log(self) -> PathBuf {
        self.folder.keep().join("server.log")
    }

    /// Breaks all this within a moment, in any order, has what was killed started again, and returns how long it took from the last of
    /// it until a call was served; nothing if none was.
    pub async fn strike(
        &mut self,
        troubles: &[Trouble],
        probe: &mut Client,
        random: &mut StdRng,
    ) -> anyhow::Result<Option<Duration>> {
        let mut delay =
            || if troubles.len() == 1 { Duration::ZERO } else { TOGETHER.mul_f64(random.random()) };
        let delays: Vec<_> = troubles.iter().map(|trouble| (*trouble, delay())).collect();
        let share = *SHARES.choose(random).unwrap_or(&1.0);
        let when =
            |wanted: Trouble| delays.iter().find(|(trouble, _)| *trouble == wanted).map(|(_, delay)| *delay);
        let (postgres, server) = (&mut self.postgres, &mut self.server);
        // A permit for each blow that has been dealt.
        let dealt = Semaphore::new(0);
        let kill_postgres = async {
            if let Some(delay) = when(Trouble::KillPostgres) {
                tokio::time::sleep(delay).await;
                postgres.kill().await?;
                dealt.add_permits(1);
                self.socket.send_replace(postgres.restart().await?);
            }
            anyhow::Ok(())
        };
        let kill_server = async {
            if let Some(delay) = when(Trouble::KillServer) {
                tokio::time::sleep(delay).await;
                server.kill().await?;
                dealt.add_permits(1);
                self.address.send_replace(server.restart().await?);
            }
            anyhow::Ok(())
        };
        let cut = async |trouble, proxy: &Proxy| {
            if let Some(delay) = when(trouble) {
                tokio::time::sleep(delay).await;
                proxy.cut(share);
                dealt.add_permits(1);
            }
            anyhow::Ok(())
        };
        let recover = async {
            let _all = dealt.acquire_many(u32::try_from(troubles.len())?).await?;
            let struck = Instant::now();
            while struck.elapsed() < PATIENCE {
                if probe.match_newcomer().await? {
                    return Ok(Some(struck.elapsed()));
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(None)
        };
        let (.., recovered) = tokio::try_join!(
            kill_postgres,
            kill_server,
            cut(Trouble::CutClients, &self.clients),
            cut(Trouble::CutDatabase, &self.database),
            recover,
        )?;
        anyhow::ensure!(!self.server.has_ended(), "the server ended by itself: see its log");
        Ok(recovered)
    }

    /// Ends all that may still be under way anywhere, and starts again.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        self.server.stop().await?;
        self.socket.send_replace(self.postgres.restart().await?);
        self.address.send_replace(self.server.start().await?);
        Ok(())
    }

    pub async fn tear_down(&mut self) -> anyhow::Result<()> {
        self.server.kill().await?;
        self.postgres.stop().await;
        Ok(())
    }
}
