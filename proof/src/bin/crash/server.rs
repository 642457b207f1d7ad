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
/// As systemd waits (`RestartSec`).
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// Longer than a server takes for requests under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Server {
    binary: PathBuf,
    database_url: String,
    log: File,
    running: Option<(Child, BufReader<ChildStdout>)>,
}

impl Server {
    /// Not started yet; logs into a file.
    pub fn new(binary: PathBuf, database_url: String, log: &Path) -> anyhow::Result<Self> {
        Ok(Self { binary, database_url, log: File::create(log)?, running: None })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_clear().env("DATABASE_URL", &self.database_url);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Brings the schema up to date, and makes an organisation with a key that has no limit.
    pub async fn prepare(&self) -> anyhow::Result<String> {
        self.ask(&["migrate", "--format", "json"]).await?;
        let organisation = self.ask(&["organisation", "create", "Proof", "--format", "json"]).await?;
        let id = organisation["id"].to_string();
        let key = ["key", "create", "--organisation", &id, "--kind", "root", "--format", "json"];
        let key = self.ask(&key).await?;
        Ok(key["apiKey"].as_str().context("a new key is shown")?.to_owned())
    }

    async fn ask(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.command(arguments).stderr(Stdio::inherit()).output().await?;
        if !output.status.success() {
            bail!("`customer-match {}` failed", arguments.join(" "));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Starts it and returns where it listens.
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

    /// After a kill: a start that fails, as the database may be gone too, is repeated.
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

    /// Lets it answer what is under way.
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

    /// Whether it has ended, which nobody asked it to.
    pub fn has_ended(&mut self) -> bool {
        self.running.as_mut().is_none_or(|(child, _)| !matches!(child.try_wait(), Ok(None)))
    }
}
