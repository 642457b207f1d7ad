//! A Postgres of our own, for those who bring none: for `serve` and the commands without `DATABASE_URL`, and for tests.
//!
//! It listens on a Unix socket alone, runs under a small shell that stops it when our process ends, however it ends,
//! and is started again when it ends by itself. One process owns a data directory; a command joins the cluster of the
//! server or of another command that runs on it.
//!
//! - `binaries` finds `postgres` and `initdb`
//! - `directory` knows where the data live and who runs Postgres
//! - `ownership` lets one process at a time run the cluster, and others use it
//! - `cluster` starts it under `watchdog.sh`
//! - `supervisor` starts it again

mod binaries;
mod cluster;
mod data_dir;
mod error;
mod ownership;
mod supervisor;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use self::cluster::{Cluster, Running};
use self::data_dir::Account;
pub use self::error::Error;
use self::ownership::{Claim, Ownership, Role, SharedUser};
use self::supervisor::Supervisor;

/// The name of the role, a superuser, and of the database.
const NAME: &str = "customer_match";
/// How often a condition is looked at that nobody reports.
const POLL: Duration = Duration::from_millis(10);
/// How long a command waits until it gets at the cluster of a process that starts, stops or recovers.
const COMMAND_WAITS: Duration = Duration::from_secs(60);

/// Where the data live, and which Postgres serves them.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The data directory; `None` for the platform's.
    pub data_dir: Option<PathBuf>,
    /// The directory of the server binaries, before all others that may be found.
    pub bin_dir: Option<PathBuf>,
}

/// A Postgres that runs, at least for as long as this lives.
///
/// Dropping it stops Postgres too, but does not wait for that, nor for commands that have joined.
pub struct PrivatePostgres {
    data_dir: PathBuf,
    sockets: PathBuf,
    handle: Handle,
}

/// What keeps the cluster running. An owner lets go of it before the directory.
enum Handle {
    Owner(Supervisor, Ownership),
    SharedUser(SharedUser),
    ThrowAway(Cluster, Running),
}

impl PrivatePostgres {
    /// For `serve`: as the only owner of the data directory. A command that has it is waited for.
    pub async fn start(settings: &Settings) -> Result<PrivatePostgres, Error> {
        let data_dir = data_dir::open(settings.data_dir.as_deref())?;
        let begin = Instant::now();
        loop {
            match Ownership::claim(&data_dir, Role::Server)? {
                Claim::Owner(ownership) => return PrivatePostgres::own(settings, data_dir, ownership).await,
                Claim::Taken(Some(holder)) if begin.elapsed() > holder.patience() => {
                    return Err(Error::AlreadyRunning { data_dir, holder: holder.to_string() });
                }
                Claim::Taken(None) if begin.elapsed() > COMMAND_WAITS => {
                    return Err(Error::AlreadyRunning { data_dir, holder: "another process".to_owned() });
                }
                Claim::Taken(_) => sleep(POLL).await,
            }
        }
    }

    /// For commands: joins the cluster of the process that owns the data directory, or else starts it for as long as this
    /// lives.
    pub async fn attach_or_start(settings: &Settings) -> Result<PrivatePostgres, Error> {
        let data_dir = data_dir::open(settings.data_dir.as_deref())?;
        let begin = Instant::now();
        loop {
            let holder = match Ownership::claim(&data_dir, Role::Command)? {
                Claim::Owner(ownership) => return PrivatePostgres::own(settings, data_dir, ownership).await,
                Claim::Taken(holder) => holder,
            };
            // No connection: the owner was killed, or Postgres is being started again.
            if let Some(user) = SharedUser::join(&data_dir)?
                && let Ok(connection) =
                    PgConnection::connect_with(&cluster::connect_options(&user.sockets)).await
            {
                connection.close().await?;
                return Ok(PrivatePostgres {
                    data_dir,
                    sockets: user.sockets.clone(),
                    handle: Handle::SharedUser(user),
                });
            }
            if begin.elapsed() > COMMAND_WAITS {
                let holder = holder.map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
                return Err(Error::AlreadyRunning { data_dir, holder });
            }
            sleep(POLL).await;
        }
    }

    /// For tests: a cluster in memory where there is enough, that is not durable and is gone with our process.
    pub async fn start_throw_away() -> Result<PrivatePostgres, Error> {
        let account = Account::to_run(None)?;
        let data_dir = data_dir::throw_away(account.as_ref());
        let sockets = data_dir::home(&data_dir);
        let binaries = binaries::find(None, &sockets.join("data"))?;
        let transient = Some(data_dir.clone());
        let cluster = Cluster {
            binaries,
            account,
            data_dir: data_dir.clone(),
            sockets: sockets.clone(),
            transient,
            throw_away: true,
        };
        let running = cluster.launch().await?;
        cluster.make_database().await?;
        Ok(PrivatePostgres { data_dir, sockets, handle: Handle::ThrowAway(cluster, running) })
    }

    async fn own(
        settings: &Settings,
        data_dir: PathBuf,
        ownership: Ownership,
    ) -> Result<PrivatePostgres, Error> {
        let home = data_dir::home(&data_dir);
        let binaries = binaries::find(settings.bin_dir.as_deref(), &home.join("data"))?;
        let account = Account::to_run(Some(&home))?;
        data_dir::make_home(&data_dir, account.as_ref())?;
        let (sockets, separate) = data_dir::sockets(&home);
        let transient = separate.then(|| sockets.clone());
        let cluster = Cluster {
            binaries,
            account,
            data_dir: data_dir.clone(),
            sockets: sockets.clone(),
            transient,
            throw_away: false,
        };
        let running = cluster.launch().await?;
        cluster.make_database().await?;
        let supervisor = Supervisor::new(cluster, running);
        ownership.ready(&sockets)?;
        tracing::debug!("a private Postgres runs in {}", data_dir.display());
        Ok(PrivatePostgres { data_dir, sockets, handle: Handle::Owner(supervisor, ownership) })
    }

    /// How to connect: the socket, the role and the database.
    pub fn connect_options(&self) -> PgConnectOptions {
        cluster::connect_options(&self.sockets)
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Stops Postgres and waits until it has ended. Commands that use it are waited for: by a command until they are
    /// done, by a server for a few seconds. One that has only joined leaves.
    pub async fn stop(self) -> Result<(), Error> {
        match self.handle {
            Handle::Owner(supervisor, ownership) => {
                ownership.drain_shared_users().await?;
                supervisor.stop().await
            }
            Handle::SharedUser(user) => {
                drop(user);
                Ok(())
            }
            Handle::ThrowAway(cluster, running) => {
                running.stop().await;
                cluster.ended().await
            }
        }
    }
}
