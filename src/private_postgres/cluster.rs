//! Starts the cluster under its watchdog, `watchdog.sh`, and keeps its log.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, PipeWriter, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::data_dir::{self, Account};
use super::{Error, NAME, POLL};

/// Ready by then, or something is wrong. Long enough for the recovery after a crash on a slow disk.
const START_DEADLINE: Duration = Duration::from_secs(180);
/// A fast shutdown writes a checkpoint, which may take a while; after it every process of the cluster is gone.
pub(super) const END_DEADLINE: Duration = Duration::from_secs(60);
/// Postgres takes the number in the postmaster.pid of one that was killed for a postmaster: as long as init has not
/// reaped that, or when it is now the number of another process, as happens in a container that has been started anew,
/// where it may be one of ours, which the next attempt gets other numbers for.
const STALE: &str = "lock file \"postmaster.pid\" already exists";
const STALE_DEADLINE: Duration = Duration::from_secs(10);
const STALE_DELAY: Duration = Duration::from_millis(100);
/// Beyond this the log goes to `postgres.log.1`, in the place of the last one.
const LONGEST_LOG: u64 = 8 << 20;

/// For data that must survive a power failure; the defaults, said so that no postgresql.conf says otherwise.
const DURABLE: &[&str] = &["fsync=on", "synchronous_commit=on", "full_page_writes=on", "max_connections=100"];
/// For data that are thrown away.
const THROW_AWAY: &[&str] =
    &["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300"];
const SETTINGS: &[&str] = &[
    // The socket alone; who may enter its directory may connect.
    "listen_addresses=",
    "port=5432",
    "unix_socket_permissions=0700",
    // Within the cluster's directory: a postmaster that is killed leaves nothing in /dev/shm, which is small in containers.
    "dynamic_shared_memory_type=mmap",
    // Short statements: compiling them costs more than it gains.
    "jit=off",
    // The same everywhere, whatever the machine's zone.
    "timezone=UTC",
    "log_timezone=UTC",
    // Failed statements are reported to the client, and would put customers' data into the log.
    "log_min_messages=log",
    "log_min_error_statement=panic",
    "log_checkpoints=off",
    // The log file is our standard error, see `Cluster::open_log`.
    "log_destination=stderr",
    "logging_collector=off",
    "cluster_name=customer-match",
];

/// A cluster, running or not.
#[derive(Clone)]
pub(super) struct Cluster {
    /// The directory of the server binaries.
    pub(super) binaries: PathBuf,
    /// Whom to run it as, when not as ourselves.
    pub(super) account: Option<Account>,
    /// The data directory.
    pub(super) data_dir: PathBuf,
    /// The directory of the socket.
    pub(super) sockets: PathBuf,
    /// The watchdog makes this directory and removes it at the end: that of the socket when it is one of its own, the
    /// data directory of a throw-away cluster.
    pub(super) transient: Option<PathBuf>,
    /// Not durable, and gone at the end.
    pub(super) throw_away: bool,
}

/// A cluster that runs, for as long as this lives.
pub(super) struct Running {
    watchdog: Child,
    /// The watchdog holds the other end, and stops Postgres when this one is closed.
    lifeline: PipeWriter,
}

impl Running {
    /// Waits until Postgres has ended by itself.
    pub(super) async fn ended(&mut self) {
        // The status says nothing: the watchdog's last act is to kill its whole group.
        let _ = self.watchdog.wait().await;
    }

    /// Stops Postgres, and waits until it has ended.
    pub(super) async fn stop(mut self) {
        drop(self.lifeline);
        let _ = self.watchdog.wait().await;
    }
}

impl Cluster {
    /// Makes the cluster if there is none, starts it and waits until it is ready.
    pub(super) async fn launch(&self) -> Result<Running, Error> {
        let deadline = Instant::now() + STALE_DEADLINE;
        loop {
            match self.attempt().await {
                Err(Error::Failed { log_end, .. })
                    if log_end.contains(STALE) && Instant::now() < deadline =>
                {
                    sleep(STALE_DELAY).await;
                }
                result => return result,
            }
        }
    }

    async fn attempt(&self) -> Result<Running, Error> {
        let data = data_dir::home(&self.data_dir).join("data");
        let new = !data.exists();
        let log = if self.throw_away { None } else { Some(self.open_log().await?) };
        let log_start = log.as_ref().map_or(Ok(0), |log| log.metadata().map(|log| log.len()));
        let log_start = log_start.map_err(Error::io("read", &self.log()))?;
        // Postgres alone may remove what it left there when it was killed.
        let pid_file = data.join("postmaster.pid");
        let stale = fs::read(&pid_file).ok();

        let mut running = self.spawn(log).map_err(Error::io("run", Path::new("/bin/sh")))?;
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if fs::read(&pid_file).is_ok_and(|text| is_ready(&text) && Some(text) != stale) {
                break;
            }
            let over = running.watchdog.try_wait().map_err(Error::io("wait for", Path::new("/bin/sh")))?;
            if over.is_some() {
                return Err(Error::Failed { log: self.log(), log_end: self.log_end(log_start) });
            }
            if Instant::now() > deadline {
                let (log, log_end) = (self.log(), self.log_end(log_start));
                return Err(Error::NotReady { log, log_end, seconds: START_DEADLINE.as_secs() });
            }
            sleep(POLL).await;
        }
        if new && !self.throw_away {
            // initdb has written all that is in the cluster to the disk, but not its new name.
            let home = data_dir::home(&self.data_dir);
            File::open(&home).and_then(|home| home.sync_all()).map_err(Error::io("write", &home))?;
        }
        Ok(running)
    }

    fn spawn(&self, log: Option<File>) -> io::Result<Running> {
        let (reader, lifeline) = io::pipe()?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", include_str!("watchdog.sh"), "watchdog"])
            .arg(&self.binaries)
            .arg(data_dir::home(&self.data_dir))
            .arg(self.transient.as_deref().unwrap_or(Path::new("")))
            .arg(if self.throw_away { "throw-away" } else { "" });
        for setting in SETTINGS.iter().chain(if self.throw_away { THROW_AWAY } else { DURABLE }) {
            command.args(["-c", setting]);
        }
        // Relative to the cluster, so that no path needs quoting.
        let sockets =
            if self.sockets == data_dir::home(&self.data_dir) { Path::new("..") } else { &self.sockets };
        command.arg("-k").arg(sockets);

        command.env_clear().env("LC_ALL", "C").current_dir("/");
        if let Some(path) = env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.stdin(reader);
        match log {
            Some(log) => command.stdout(log.try_clone()?).stderr(log),
            // The watchdog opens the log, in the directory that it makes.
            None => command.stdout(Stdio::null()),
        };
        // Ctrl-C in the terminal is ours: we stop Postgres when we are done with it.
        command.process_group(0);
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        Ok(Running { watchdog: command.spawn()?, lifeline })
    }

    /// Waits until every process of the cluster has ended, also of one that somebody else had started.
    pub(super) async fn ended(&self) -> Result<(), Error> {
        if !self.throw_away {
            return self.open_log().await.map(drop);
        }
        let deadline = Instant::now() + END_DEADLINE;
        while self.data_dir.exists() {
            self.check(deadline)?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// The log file, locked. Every process of a cluster inherits it as its standard error and holds the lock with it,
    /// so that we get it when the last of them is gone, be it a server process that outlived its postmaster.
    async fn open_log(&self) -> Result<File, Error> {
        let path = self.log();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let deadline = Instant::now() + END_DEADLINE;
        loop {
            match log.try_lock() {
                Ok(()) => return Ok(log),
                Err(TryLockError::WouldBlock) => self.check(deadline)?,
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
            }
            sleep(POLL).await;
        }
    }

    fn check(&self, deadline: Instant) -> Result<(), Error> {
        if Instant::now() < deadline {
            return Ok(());
        }
        Err(Error::StillRunning { data_dir: self.data_dir.clone(), seconds: END_DEADLINE.as_secs() })
    }

    pub(super) fn log(&self) -> PathBuf {
        self.data_dir.join("postgres.log")
    }

    /// The last lines of the log since `start`, in one.
    pub(super) fn log_end(&self, start: u64) -> String {
        let read = || {
            let mut log = File::open(self.log())?;
            let from = log.metadata()?.len().saturating_sub(2000).max(start);
            log.seek(SeekFrom::Start(from))?;
            let mut text = Vec::new();
            log.read_to_end(&mut text)?;
            io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(4)..].join(" | ")
    }

    /// Keeps the log from growing without bound. Postgres writes at its end, wherever that is.
    pub(super) fn shorten_log(&self) -> io::Result<()> {
        let log = OpenOptions::new().write(true).open(self.log())?;
        if log.metadata()?.len() > LONGEST_LOG {
            fs::copy(self.log(), self.data_dir.join("postgres.log.1"))?;
            log.set_len(0)?;
        }
        Ok(())
    }

    /// Makes the database if it is not there yet.
    pub(super) async fn make_database(&self) -> Result<(), sqlx::Error> {
        let options = connect_options(&self.sockets);
        match PgConnection::connect_with(&options).await {
            Ok(connection) => return connection.close().await,
            // invalid_catalog_name: no such database
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("3D000") => {}
            Err(error) => return Err(error),
        }
        let mut connection = PgConnection::connect_with(&options.database("postgres")).await?;
        sqlx::query("CREATE DATABASE customer_match").execute(&mut connection).await?;
        connection.close().await
    }
}

/// Options that say everything themselves, whatever `PGHOST` and its like handle.
pub(super) fn connect_options(sockets: &Path) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(sockets)
        .port(5432)
        .username(NAME)
        .database(NAME)
        .ssl_mode(PgSslMode::Disable)
}

/// Line 8 of postmaster.pid is the state.
fn is_ready(pid_file: &[u8]) -> bool {
    pid_file.split(|byte| *byte == b'\n').nth(7).is_some_and(|state| state.trim_ascii() == b"ready")
}

#[cfg(test)]
mod tests {

    use tempfile::TempDir;

    use super::*;

    fn cluster(data_dir: &TempDir) -> Cluster {
        Cluster {
            binaries: PathBuf::new(),
            account: None,
            data_dir: data_dir.path().to_owned(),
            sockets: data_dir.path().to_owned(),
            transient: None,
            throw_away: false,
        }
    }

    #[test]
    fn line_eight_says_ready() {
        let file = |state: &str| format!("31\n/data\n1700000000\n5432\n/sockets\n\n  1 2\n{state}\n");
        assert!(is_ready(file("ready   ").as_bytes()));
        assert!(!is_ready(file("starting").as_bytes()));
        assert!(!is_ready(b"31\n/data\n"));
    }

    #[test]
    fn the_end_of_the_log_is_one_line() {
        let data_dir = TempDir::new().unwrap();
        let cluster = cluster(&data_dir);
        assert_eq!(cluster.log_end(0), "");
        fs::write(cluster.log(), "of yesterday\n1\n2\n\n3\n4\n5\n").unwrap();
        assert_eq!(cluster.log_end(0), "2 | 3 | 4 | 5");
        assert_eq!(cluster.log_end("of yesterday\n1\n2\n\n3\n4\n".len() as u64), "5");
    }

    #[test]
    fn a_long_log_is_put_aside_while_it_is_written() {
        let data_dir = TempDir::new().unwrap();
        let cluster = cluster(&data_dir);
        let mut writer = OpenOptions::new().create(true).append(true).open(cluster.log()).unwrap();
        writer.set_len(LONGEST_LOG + 1).unwrap();
        cluster.shorten_log().unwrap();
        io::Write::write_all(&mut writer, b"on it goes").unwrap();
        assert_eq!(fs::read(cluster.log()).unwrap(), b"on it goes");
        assert_eq!(fs::metadata(data_dir.path().join("postgres.log.1")).unwrap().len(), LONGEST_LOG + 1);
    }
}
