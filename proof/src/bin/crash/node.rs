//! A Postgres on this machine that another program has started: killed, and started again as its supervisor would.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::process::Command;

/// Longer than a recovery takes.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Before the next attempt to start: the killed postmaster is a live process until init has reaped it.
const START_PAUSE: Duration = Duration::from_millis(50);
/// In the data directory.
const LOG: &str = "customer-match-proof.log";

pub struct Node {
    data_dir: PathBuf,
    /// The directory of its binaries.
    binaries: PathBuf,
}

impl Node {
    pub fn new(data_dir: &Path) -> anyhow::Result<Self> {
        // The command line with which it was started: `/usr/lib/postgresql/15/bin/postgres "-D" …`
        let command = fs::read_to_string(data_dir.join("postmaster.opts")).with_context(|| {
            format!(
                "the data directory {} of a node cannot be read: faults are injected on the machine that has all nodes, \
                 as root or as the user that runs them",
                data_dir.display()
            )
        })?;
        let binary = command.split(" \"").next().unwrap_or_default().trim_end();
        let binaries = Path::new(binary).parent().context("postmaster.opts names the binary")?.to_owned();
        Ok(Self { data_dir: data_dir.to_owned(), binaries })
    }

    pub async fn kill(&self) -> anyhow::Result<()> {
        kill(&self.data_dir).await
    }

    /// Starts it with the options of before; stops it first if it runs.
    pub async fn restart(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut arguments = vec!["restart", "--silent", "--wait", "--mode", "fast", "--timeout", "60"];
        let log = self.data_dir.join(LOG);
        let log = log.to_string_lossy();
        arguments.extend(["--log", &log]);
        while !self.pg_ctl(&arguments).await? {
            if begun.elapsed() > START_TIMEOUT {
                bail!("the node in {} does not start: see {log}", self.data_dir.display());
            }
            tokio::time::sleep(START_PAUSE).await;
        }
        Ok(())
    }

    /// After an interruption.
    pub async fn start_if_down(&self) -> anyhow::Result<()> {
        if self.pg_ctl(&["status"]).await? { Ok(()) } else { self.restart().await }
    }

    async fn pg_ctl(&self, arguments: &[&str]) -> anyhow::Result<bool> {
        let mut command = Command::new(self.binaries.join("pg_ctl"));
        command.args(arguments).arg("--pgdata").arg(&self.data_dir).current_dir("/");
        if geteuid().is_root() {
            let owner = fs::metadata(&self.data_dir)?;
            command.uid(owner.uid()).gid(owner.gid());
        }
        // Postgres inherits them.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C in the terminal is for this program only.
        command.process_group(0);
        Ok(command.status().await?.success())
    }
}

/// `kill -9` of the postmaster and of all its children.
pub async fn kill(data_dir: &Path) -> anyhow::Result<()> {
    let pid_file = fs::read_to_string(data_dir.join("postmaster.pid"))?;
    let postmaster: i32 = pid_file.lines().next().unwrap_or_default().parse()?;
    // A child that it forked after the listing would live on and keep the next postmaster from starting.
    let _ = Pid::from_raw(postmaster).map(|pid| kill_process(pid, Signal::STOP));
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
