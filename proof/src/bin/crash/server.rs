//! A server that is killed and started again, as its supervisor would.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Longer than a server waits for its database.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// As systemd's `RestartSec`.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// Longer than a server takes for requests in flight.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Server {
    binary: PathBuf,
    database_url: String,
    log: File,
    running: Option<(Child, BufReader<ChildStdout>)>,
}

impl Server {
    /// Not started yet.
    pub fn new(binary: PathBuf, database_url: String, log: &Path) -> anyhow::Result<Self> {
        Ok(Self { binary, database_url, log: File::create(log)?, running: None })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_clear().env("DATABASE_URL", &self.database_url);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub async fn migrate(&self) -> anyhow::Result<()> {
        self.json(&["migrate", "--format", "json"]).await?;
        Ok(())
    }

    /// Over the workers of the cluster.
    pub async fn distribute(&self) -> anyhow::Result<()> {
        self.run(&["distribute"]).await?;
        Ok(())
    }

    /// Makes an organisation and a key without a rate limit. Returns its id and the key.
    pub async fn create_organisation(&self, name: &str) -> anyhow::Result<(i64, String)> {
        let organisation = self.json(&["organisation", "create", name, "--format", "json"]).await?;
        let id = organisation["id"].as_i64().context("a new organisation has an id")?;
        let organisation = id.to_string();
        let arguments =
            ["key", "create", "--organisation", &organisation, "--kind", "root", "--format", "json"];
        let key = self.json(&arguments).await?;
        Ok((id, key["apiKey"].as_str().context("a new key is shown")?.to_owned()))
    }

    async fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.run(arguments).await?)?)
    }

    /// Returns what it writes to stdout.
    async fn run(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let output = self.command(arguments).stderr(Stdio::inherit()).output().await?;
        if !output.status.success() {
            bail!("`customer-match {}` failed", arguments.join(" "));
        }
        Ok(output.stdout)
    }

    /// Returns where it listens.
    pub async fn start(&mut self) -> anyhow::Result<SocketAddr> {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--log-level", "warn"];
        let mut child = self.command(&arguments).stderr(self.log.try_clone()?).spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
        let mut line = String::new();
        timeout(START_TIMEOUT, output.read_line(&mut line)).await.context("the server does not start")??;
        let (_, address) = line.trim_end().rsplit_once("http://").context("the server did not start")?;
        self.running = Some((child, output));
        Ok(address.parse()?)
    }

    /// Starts it after a kill, again if a start fails, as the database may be unavailable too.
    pub async fn restart(&mut self) -> anyhow::Result<SocketAddr> {
        let begun = Instant::now();
        loop {
            match self.start().await {
                Err(error) if begun.elapsed() < START_TIMEOUT => {
                    println!("a start of the server failed and is repeated: {error:#}");
                    tokio::time::sleep(RESTART_PAUSE).await;
                }
                started => return started,
            }
        }
    }

    /// `kill -9`.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some((mut child, _)) = self.running.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Lets it answer the requests in flight.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some((mut child, _output)) = self.running.take() else { return Ok(()) };
        let pid =
            child.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("the server has ended")?;
        kill_process(pid, Signal::TERM)?;
        let status = timeout(STOP_TIMEOUT, child.wait()).await.context("the server does not stop")??;
        if !status.success() {
            bail!("the server stopped with {status}");
        }
        Ok(())
    }

    /// Whether it ended without having been told to.
    pub fn has_ended(&mut self) -> bool {
        self.running.as_mut().is_none_or(|(child, _)| !matches!(child.try_wait(), Ok(None)))
    }
}
