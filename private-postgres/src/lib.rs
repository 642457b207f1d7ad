//! A Postgres that the server runs itself, for `serve` and other subcommands without a database URL, and for tests.
//!
//! It listens on a Unix socket only. A small shell, the watchdog, stops it when this process ends, even by `kill -9`; a task,
//! the supervisor, restarts it when it ends by itself. One process at a time owns a data directory and runs its cluster;
//! further subcommands share the cluster of the owner. Nothing here knows of customers.
//!
//! - [`binaries`] finds `postgres` and `initdb`
//! - [`data_dir`] creates the directories and chooses the user that runs Postgres
//! - [`ownership`] locks the data directory
//! - [`cluster`] starts Postgres under `watchdog.sh`, with the settings that durability needs
//! - [`supervisor`] restarts it

// Only here: in the tests' crate all is unreachable.
#![warn(unreachable_pub)]

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

/// Name of the role, a superuser, and of the database.
const NAME: &str = "customer_match";
/// Interval of polling for conditions that raise no event: files, locks, processes.
const POLL: Duration = Duration::from_millis(10);
/// How long a subcommand waits for a cluster whose owner starts, stops or recovers.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `None`: the default of the platform.
    pub data_dir: Option<PathBuf>,
    /// Directory of the server binaries; preferred to those that [`binaries`] finds.
    pub bin_dir: Option<PathBuf>,
}

/// A running Postgres, which ends no earlier than this value.
///
/// Dropping it stops Postgres as [`stop`](Self::stop) does, but waits neither for that nor for shared users.
pub struct PrivatePostgres {
    data_dir: PathBuf,
    sockets: PathBuf,
    handle: Handle,
}

/// What keeps the cluster running. The order in `Owner` stops the cluster before it unlocks the directory.
enum Handle {
    Owner(Supervisor, Ownership),
    SharedUser(SharedUser),
    ThrowAway(Cluster, Running),
}

impl PrivatePostgres {
    /// For `serve`: becomes the owner of the data directory. Waits for a subcommand that owns it, but not for a server.
    pub async fn start(settings: &Settings) -> Result<PrivatePostgres, Error> {
        let data_dir = data_dir::open(settings.data_dir.as_deref())?;
        let begin = Instant::now();
        loop {
            match Ownership::claim(&data_dir, Role::Server)? {
                Claim::Owner(ownership) => return PrivatePostgres::own(settings, data_dir, ownership).await,
                Claim::Taken(Some(holder)) if begin.elapsed() > holder.release_timeout() => {
                    return Err(Error::AlreadyRunning { data_dir, holder: holder.to_string() });
                }
                Claim::Taken(None) if begin.elapsed() > ATTACH_TIMEOUT => {
                    return Err(Error::AlreadyRunning { data_dir, holder: "another process".to_owned() });
                }
                Claim::Taken(_) => sleep(POLL).await,
            }
        }
    }

    /// For subcommands: shares the cluster of the owner of the data directory, or becomes the owner if there is none.
    pub async fn attach_or_start(settings: &Settings) -> Result<PrivatePostgres, Error> {
        let data_dir = data_dir::open(settings.data_dir.as_deref())?;
        let begin = Instant::now();
        loop {
            let holder = match Ownership::claim(&data_dir, Role::Command)? {
                Claim::Owner(ownership) => return PrivatePostgres::own(settings, data_dir, ownership).await,
                Claim::Taken(holder) => holder,
            };
            // Without a connection the owner was killed or Postgres is restarting: try again.
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
            if begin.elapsed() > ATTACH_TIMEOUT {
                let holder = holder.map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
                return Err(Error::AlreadyRunning { data_dir, holder });
            }
            sleep(POLL).await;
        }
    }

    /// For tests: a cluster without durability, in memory if there is enough, deleted when this process ends.
    pub async fn start_throw_away() -> Result<PrivatePostgres, Error> {
        let account = Account::to_run(None)?;
        let data_dir = data_dir::throw_away(account.as_ref());
        let sockets = data_dir::home(&data_dir);
        let binaries = binaries::find(None, &data_dir::cluster(&sockets))?;
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
        cluster.ensure_database().await?;
        Ok(PrivatePostgres { data_dir, sockets, handle: Handle::ThrowAway(cluster, running) })
    }

    async fn own(
        settings: &Settings,
        data_dir: PathBuf,
        ownership: Ownership,
    ) -> Result<PrivatePostgres, Error> {
        let home = data_dir::home(&data_dir);
        let account = Account::to_run(Some(&home))?;
        data_dir::prepare_home(&data_dir, account.as_ref())?;
        let binaries = binaries::find(settings.bin_dir.as_deref(), &data_dir::cluster(&home))?;
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
        cluster.ensure_database().await?;
        let supervisor = Supervisor::new(cluster, running);
        ownership.ready(&sockets)?;
        tracing::debug!("private Postgres started in {}", data_dir.display());
        Ok(PrivatePostgres { data_dir, sockets, handle: Handle::Owner(supervisor, ownership) })
    }

    pub fn connect_options(&self) -> PgConnectOptions {
        cluster::connect_options(&self.sockets)
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// An owner stops Postgres and waits until it has ended. Before that it waits for shared users: a subcommand until they
    /// have finished, a server for a few seconds. A shared user only releases its lock.
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
