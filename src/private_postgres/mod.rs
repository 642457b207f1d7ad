//! A Postgres of our own, for those who bring none: for `serve` and the commands without `DATABASE_URL`, and for tests.
//!
//! It listens on a Unix socket alone, runs under a small shell that stops it when our process ends, however it ends,
//! and is started again when it ends by itself. One process owns a data folder; a command joins the cluster of the
//! server or of another command that runs on it.
//!
//! - `programs` finds `postgres` and `initdb`
//! - `folder` knows where the data live and who runs Postgres
//! - `ownership` lets one process at a time run the cluster, and others use it
//! - `cluster` starts it under `supervisor.sh`
//! - `keeper` starts it again

mod cluster;
mod error;
mod folder;
mod keeper;
mod ownership;
mod programs;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use self::cluster::{Cluster, Running};
pub use self::error::Error;
use self::folder::Account;
use self::keeper::Keeper;
use self::ownership::{Claim, Guest, Ownership, Role};

/// The name of the role, a superuser, and of the database.
const NAME: &str = "customer_match";
/// How often a condition is looked at that nobody reports.
const POLL: Duration = Duration::from_millis(10);
/// How long a command waits until it gets at the cluster of a process that starts, stops or recovers.
const COMMAND_WAITS: Duration = Duration::from_secs(60);

/// Where the data live, and which Postgres serves them.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The data folder; `None` for the platform's.
    pub data_dir: Option<PathBuf>,
    /// The folder of the server programs, before all others that may be found.
    pub bin_dir: Option<PathBuf>,
}

/// A Postgres that runs, at least for as long as this lives.
///
/// Dropping it stops Postgres too, but does not wait for that, nor for commands that have joined.
pub struct PrivatePostgres {
    folder: PathBuf,
    sockets: PathBuf,
    hold: Hold,
}

/// What keeps the cluster running. An owner lets go of it before the folder.
enum Hold {
    Owner(Keeper, Ownership),
    Guest(Guest),
    ThrowAway(Cluster, Running),
}

impl PrivatePostgres {
    /// For `serve`: as the only owner of the data folder. A command that has it is waited for.
    pub async fn start(settings: &Settings) -> Result<PrivatePostgres, Error> {
        let folder = folder::data_folder(settings.data_dir.as_deref())?;
        let begin = Instant::now();
        loop {
            match Ownership::claim(&folder, Role::Server)? {
                Claim::Owner(ownership) => return PrivatePostgres::own(settings, folder, ownership).await,
                Claim::Taken(Some(holder)) if begin.elapsed() > holder.patience() => {
                    return Err(Error::AlreadyRunning { folder, holder: holder.to_string() });
                }
                Claim::Taken(None) if begin.elapsed() > COMMAND_WAITS => {
                    return Err(Error::AlreadyRunning { folder, holder: "another process".to_owned() });
                }
                Claim::Taken(_) => sleep(POLL).await,
            }
        }
    }

    /// For commands: joins the cluster of the process that owns the data folder, or else starts it for as long as this
    /// lives.
    pub async fn attach_or_start(settings: &Settings) -> Result<PrivatePostgres, Error> {
        let folder = folder::data_folder(settings.data_dir.as_deref())?;
        let begin = Instant::now();
        loop {
            let holder = match Ownership::claim(&folder, Role::Command)? {
                Claim::Owner(ownership) => return PrivatePostgres::own(settings, folder, ownership).await,
                Claim::Taken(holder) => holder,
            };
            // No connection: the owner was killed, or Postgres is being started again.
            if let Some(guest) = Guest::join(&folder)?
                && let Ok(connection) =
                    PgConnection::connect_with(&cluster::connect_options(&guest.sockets)).await
            {
                connection.close().await?;
                return Ok(PrivatePostgres {
                    folder,
                    sockets: guest.sockets.clone(),
                    hold: Hold::Guest(guest),
                });
            }
            if begin.elapsed() > COMMAND_WAITS {
                let holder = holder.map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
                return Err(Error::AlreadyRunning { folder, holder });
            }
            sleep(POLL).await;
        }
    }

    /// For tests: a cluster in memory where there is enough, that is not durable and is gone with our process.
    pub async fn start_throw_away() -> Result<PrivatePostgres, Error> {
        let account = Account::to_run(None)?;
        let folder = folder::throw_away_folder(account.as_ref());
        let sockets = folder::home(&folder);
        let programs = programs::find(None, &sockets.join("data"))?;
        let transient = Some(folder.clone());
        let cluster = Cluster {
            programs,
            account,
            folder: folder.clone(),
            sockets: sockets.clone(),
            transient,
            throw_away: true,
        };
        let running = cluster.launch().await?;
        cluster.make_database().await?;
        Ok(PrivatePostgres { folder, sockets, hold: Hold::ThrowAway(cluster, running) })
    }

    async fn own(
        settings: &Settings,
        folder: PathBuf,
        ownership: Ownership,
    ) -> Result<PrivatePostgres, Error> {
        let home = folder::home(&folder);
        let programs = programs::find(settings.bin_dir.as_deref(), &home.join("data"))?;
        let account = Account::to_run(Some(&home))?;
        folder::make_home(&folder, account.as_ref())?;
        let (sockets, own_folder) = folder::sockets(&home);
        let transient = own_folder.then(|| sockets.clone());
        let cluster = Cluster {
            programs,
            account,
            folder: folder.clone(),
            sockets: sockets.clone(),
            transient,
            throw_away: false,
        };
        let running = cluster.launch().await?;
        cluster.make_database().await?;
        let keeper = Keeper::new(cluster, running);
        ownership.ready(&sockets)?;
        tracing::debug!("a private Postgres runs in {}", folder.display());
        Ok(PrivatePostgres { folder, sockets, hold: Hold::Owner(keeper, ownership) })
    }

    /// How to connect: the socket, the role and the database.
    pub fn connect_options(&self) -> PgConnectOptions {
        cluster::connect_options(&self.sockets)
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.folder
    }

    /// Stops Postgres and waits until it has ended. Commands that use it are waited for: by a command until they are
    /// done, by a server for a few seconds. One that has only joined leaves.
    pub async fn stop(self) -> Result<(), Error> {
        match self.hold {
            Hold::Owner(keeper, ownership) => {
                ownership.dismiss_guests().await?;
                keeper.stop().await
            }
            Hold::Guest(guest) => {
                drop(guest);
                Ok(())
            }
            Hold::ThrowAway(cluster, running) => {
                running.stop().await;
                cluster.ended().await
            }
        }
    }
}
