//! A Postgres that is killed and started again, as its supervisor would.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use private_postgres::{PrivatePostgres, Settings};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::PgConnectOptions;
use tokio::process::Command;

/// Durable, and not the server's own, so that each can be killed by itself.
pub struct Postgres {
    settings: Settings,
    running: Option<PrivatePostgres>,
}

impl Postgres {
    /// Makes a new one in a directory that does not exist yet.
    pub async fn start(directory: PathBuf) -> anyhow::Result<Self> {
        let settings = Settings { data_dir: Some(directory), ..Settings::default() };
        let running = Some(PrivatePostgres::start(&settings).await?);
        Ok(Self { settings, running })
    }

    /// Past every relay.
    pub fn connect_options(&self) -> anyhow::Result<PgConnectOptions> {
        Ok(self.running.as_ref().context("Postgres does not run")?.connect_options())
    }

    pub fn socket(&self) -> anyhow::Result<PathBuf> {
        let options = self.connect_options()?;
        let directory = options.get_socket().context("Postgres listens on a socket")?;
        Ok(directory.join(format!(".s.PGSQL.{}", options.get_port())))
    }

    /// `kill -9` of the postmaster and of all its children.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let directory = self.settings.data_dir.as_ref().context("the directory is known")?;
        let pid_file = fs::read_to_string(directory.join("postgres/data/postmaster.pid"))?;
        let postmaster: i32 = pid_file.lines().next().unwrap_or_default().parse()?;
        let listing = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().await?;
        let listing = String::from_utf8(listing.stdout)?;
        let child = |line: &str| {
            let (pid, parent) = line.trim().split_once(char::is_whitespace)?;
            (parent.trim().parse() == Ok(postmaster)).then(|| pid.parse().ok()).flatten()
        };
        for pid in [postmaster].into_iter().chain(listing.lines().filter_map(child)) {
            // One may have ended by itself.
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        Ok(())
    }

    /// Stops what is left and starts again, which recovers. Returns the socket.
    pub async fn restart(&mut self) -> anyhow::Result<PathBuf> {
        self.stop().await;
        self.running = Some(PrivatePostgres::start(&self.settings).await?);
        self.socket()
    }

    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            // One that was killed does not end well.
            let _ = running.stop().await;
        }
    }
}
