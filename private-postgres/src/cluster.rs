//! Starts a cluster under `watchdog.sh`, waits until it is ready, and manages its log file.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, PipeWriter, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::data_dir::{self, Account};
use super::{Error, NAME, POLL};

/// Long enough for crash recovery on a slow disk.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// A fast shutdown writes a checkpoint, which may take long.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Postgres does not start while the id in the postmaster.pid of a killed postmaster is that of a live process: the
/// postmaster until init reaps it, or another process that got its id, as in a restarted container. That may be one of our
/// own children, whose ids differ in the next attempt.
const STALE_PID: &str = "lock file \"postmaster.pid\" already exists";
const STALE_PID_DELAY: Duration = Duration::from_millis(100);
const STALE_PID_RETRIES: usize = 100;
/// What initdb says then, in the locale C.
const NO_PASSWD_ENTRY: &str = "could not look up effective user ID";
/// Lines of the log that an error quotes.
const QUOTED_LINES: usize = 4;
/// Enough for what one start writes.
const MAX_QUOTED_BYTES: u64 = 64 << 10;
/// A longer log is moved to `postgres.log.1`.
const MAX_LOG_BYTES: u64 = 8 << 20;

/// Survives a power failure. These are defaults, set here so that postgresql.conf cannot weaken them.
const DURABLE: &[&str] = &["fsync=on", "synchronous_commit=on", "full_page_writes=on", "max_connections=100"];
/// For throw-away clusters.
const THROW_AWAY: &[&str] =
    &["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300"];
const SETTINGS: &[&str] = &[
    // Only the Unix socket; its directory decides who may connect.
    "listen_addresses=",
    "port=5432",
    "unix_socket_permissions=0700",
    // In the data directory: /dev/shm is small in containers, and a killed postmaster would leave segments there.
    "dynamic_shared_memory_type=mmap",
    // Statements are short: compiling them costs more than it saves.
    "jit=off",
    // Independent of the zone of the machine.
    "timezone=UTC",
    "log_timezone=UTC",
    // The client logs failed statements without their values; Postgres would log customers' data.
    "log_min_messages=log",
    "log_min_error_statement=panic",
    "log_checkpoints=off",
    // The log file is the standard error of Postgres, see `Cluster::open_log`.
    "log_destination=stderr",
    "logging_collector=off",
    "cluster_name=customer-match",
];

#[derive(Clone)]
pub(super) struct Cluster {
    /// Directory of the server binaries.
    pub(super) binaries: PathBuf,
    /// User that runs Postgres; `None`: the user of this process.
    pub(super) account: Option<Account>,
    pub(super) data_dir: PathBuf,
    /// Directory of the socket.
    pub(super) sockets: PathBuf,
    /// A directory that the watchdog creates, and removes at the end: a separate directory for the socket, or the data
    /// directory of a throw-away cluster.
    pub(super) transient: Option<PathBuf>,
    /// Not durable, and deleted at the end.
    pub(super) throw_away: bool,
}

/// A running cluster. Dropping it stops Postgres, without waiting.
pub(super) struct Running {
    watchdog: Child,
    /// The watchdog holds the other end of this pipe and stops Postgres when this end is closed.
    lifeline: PipeWriter,
    /// Where the log of this run begins.
    pub(super) log_start: u64,
}

impl Running {
    pub(super) async fn ended(&mut self) {
        // The status is meaningless: at its end the watchdog kills its process group, itself included.
        let _ = self.watchdog.wait().await;
    }

    pub(super) async fn stop(mut self) {
        drop(self.lifeline);
        let _ = self.watchdog.wait().await;
    }
}

impl Cluster {
    /// Creates the cluster if there is none, starts it and waits until it is ready.
    pub(super) async fn launch(&self) -> Result<Running, Error> {
        (|| self.launch_once())
            .retry(ConstantBuilder::new().with_delay(STALE_PID_DELAY).with_max_times(STALE_PID_RETRIES))
            .when(|error| matches!(error, Error::Failed { log_end, .. } if log_end.contains(STALE_PID)))
            .await
    }

    async fn launch_once(&self) -> Result<Running, Error> {
        let data = data_dir::cluster(&data_dir::home(&self.data_dir));
        let new = !data.exists();
        let log = if self.throw_away { None } else { Some(self.open_log().await?) };
        let log_start = log.as_ref().map_or(Ok(0), |log| log.metadata().map(|log| log.len()));
        let log_start = log_start.map_err(Error::io("read", &self.log()))?;
        // Left by a killed postmaster; only Postgres can tell whether it may be removed.
        let pid_file = data.join("postmaster.pid");
        for lock_file in [&pid_file, &self.sockets.join(".s.PGSQL.5432.lock")] {
            remove_if_empty(lock_file)?;
        }
        let stale = fs::read(&pid_file).ok();

        let mut running = self.spawn(log, log_start).map_err(Error::io("run", Path::new("/bin/sh")))?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if fs::read(&pid_file).is_ok_and(|text| is_ready(&text) && Some(text) != stale) {
                break;
            }
            let exited = running.watchdog.try_wait().map_err(Error::io("wait for", Path::new("/bin/sh")))?;
            if exited.is_some() {
                return Err(self.failure(self.log_end(log_start)));
            }
            if Instant::now() > deadline {
                let (log, log_end) = (self.log(), self.log_end(log_start));
                return Err(Error::NotReady { log, log_end, seconds: START_TIMEOUT.as_secs() });
            }
            sleep(POLL).await;
        }
        if new && !self.throw_away {
            // initdb has synced the files of the cluster, but not the rename of its directory.
            let home = data_dir::home(&self.data_dir);
            File::open(&home).and_then(|home| home.sync_all()).map_err(Error::io("write", &home))?;
        }
        Ok(running)
    }

    fn failure(&self, log_end: String) -> Error {
        if log_end.contains(NO_PASSWD_ENTRY) {
            let own = || rustix::process::geteuid().as_raw();
            return Error::NoPasswdEntry {
                uid: self.account.as_ref().map_or_else(own, |account| account.uid),
            };
        }
        Error::Failed { log: self.log(), log_end }
    }

    fn spawn(&self, log: Option<File>, log_start: u64) -> io::Result<Running> {
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
        // A relative path needs no quoting.
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
            // The watchdog opens the log, in the directory that it creates.
            None => command.stdout(Stdio::null()),
        };
        // Ctrl-C in the terminal must only reach this process, which stops Postgres after its own shutdown.
        command.process_group(0);
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        Ok(Running { watchdog: command.spawn()?, lifeline, log_start })
    }

    /// Waits until every process of the cluster has ended, including one that another process started.
    pub(super) async fn ended(&self) -> Result<(), Error> {
        if !self.throw_away {
            return self.open_log().await.map(drop);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.data_dir.exists() {
            self.check(deadline)?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Opens and locks the log file. Every process of a cluster inherits it as standard error and with it the lock, so the lock
    /// is free when the last of them has ended, even a backend that outlived its postmaster.
    async fn open_log(&self) -> Result<File, Error> {
        let path = self.log();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let deadline = Instant::now() + STOP_TIMEOUT;
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
        Err(Error::StillRunning { data_dir: self.data_dir.clone(), seconds: STOP_TIMEOUT.as_secs() })
    }

    pub(super) fn log(&self) -> PathBuf {
        self.data_dir.join(data_dir::LOG)
    }

    /// What the log says after `start` of why Postgres ended, joined to one line: the last fatal error, the line before it, which may
    /// have the reason, and what follows; else the last lines.
    pub(super) fn log_end(&self, start: u64) -> String {
        let read = || {
            let mut log = File::open(self.log())?;
            let length = log.metadata()?.len();
            // A shorter one has been rotated since.
            let start = if start <= length { start } else { 0 };
            let from = length.saturating_sub(MAX_QUOTED_BYTES).max(start);
            log.seek(SeekFrom::Start(from))?;
            let mut text = Vec::new();
            log.read_to_end(&mut text)?;
            io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let text = read().unwrap_or_default();
        let told_to_clients =
            |line: &str| line.contains("the database system is") || line.contains("terminating connection");
        let lines: Vec<_> =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !told_to_clients(line)).collect();
        let first = match lines.iter().rposition(|line| is_fatal(line)) {
            Some(fatal) => fatal.saturating_sub(1),
            None => lines.len().saturating_sub(QUOTED_LINES),
        };
        lines[first..].iter().take(QUOTED_LINES).copied().collect::<Vec<_>>().join(" | ")
    }

    /// Bounds the size of the log. Postgres appends, so it continues in the truncated file.
    pub(super) fn rotate_log(&self) -> io::Result<()> {
        let log = OpenOptions::new().write(true).open(self.log())?;
        if log.metadata()?.len() > MAX_LOG_BYTES {
            fs::copy(self.log(), self.data_dir.join("postgres.log.1"))?;
            log.set_len(0)?;
        }
        Ok(())
    }

    /// Creates the database unless it exists.
    pub(super) async fn ensure_database(&self) -> Result<(), sqlx::Error> {
        let options = connect_options(&self.sockets);
        match PgConnection::connect_with(&options).await {
            Ok(connection) => return connection.close().await,
            // invalid_catalog_name: the database does not exist
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("3D000") => {}
            Err(error) => return Err(error),
        }
        let mut connection = PgConnection::connect_with(&options.database("postgres")).await?;
        sqlx::query("CREATE DATABASE customer_match").execute(&mut connection).await?;
        connection.close().await
    }
}

/// Sets every option, so that variables such as `PGHOST` have no effect.
pub(super) fn connect_options(sockets: &Path) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(sockets)
        .port(5432)
        .username(NAME)
        .database(NAME)
        .ssl_mode(PgSslMode::Disable)
}

/// Removes the lock file of a postmaster that was killed between creating and writing it: Postgres does not start while there is
/// one. The lock of the log is held, so no process of the cluster is left.
fn remove_if_empty(lock_file: &Path) -> Result<(), Error> {
    if fs::metadata(lock_file).is_ok_and(|file| file.len() == 0) {
        fs::remove_file(lock_file).map_err(Error::io("delete", lock_file))?;
    }
    Ok(())
}

/// Whether a line says why Postgres or initdb ended.
fn is_fatal(line: &str) -> bool {
    ["FATAL:", "PANIC:", "initdb: error:", "initdb: fatal:"].iter().any(|level| line.contains(level))
}

/// Line 8 of postmaster.pid is the state of the postmaster.
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
    fn reads_the_state_from_line_eight() {
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
        assert_eq!(cluster.log_end(1000), "2 | 3 | 4 | 5", "rotated");
    }

    #[test]
    fn the_fatal_line_is_quoted_however_much_follows() {
        let data_dir = TempDir::new().unwrap();
        let cluster = cluster(&data_dir);
        let log = "LOG:  starting\nFATAL:  the database system is starting up\n2026 [9] FATAL:  could not access file\nCONTEXT:  redo\n\
                   LOG:  startup process exited\nFATAL:  the database system is shutting down\nLOG:  aborting startup\n\
                   LOG:  database system is shut down\n";
        fs::write(cluster.log(), log).unwrap();
        let quoted = cluster.log_end(0);
        let expected = "LOG:  starting | 2026 [9] FATAL:  could not access file | CONTEXT:  redo | LOG:  startup process exited";
        assert_eq!(quoted, expected);
        let dump = "LOG:  a backend died\n".repeat(2000);
        fs::write(cluster.log(), format!("{dump}PANIC:  no room\n{dump}")).unwrap();
        assert!(cluster.log_end(0).contains(" | PANIC:  no room | "));
        fs::write(cluster.log(), "initdb: error: no such locale\n1\n2\n3\n4\n5\n").unwrap();
        assert_eq!(cluster.log_end(0), "initdb: error: no such locale | 1 | 2 | 3");
    }

    #[test]
    fn a_long_log_is_rotated_while_it_is_written() {
        let data_dir = TempDir::new().unwrap();
        let cluster = cluster(&data_dir);
        let mut writer = OpenOptions::new().create(true).append(true).open(cluster.log()).unwrap();
        writer.set_len(MAX_LOG_BYTES + 1).unwrap();
        cluster.rotate_log().unwrap();
        io::Write::write_all(&mut writer, b"on it goes").unwrap();
        assert_eq!(fs::read(cluster.log()).unwrap(), b"on it goes");
        assert_eq!(fs::metadata(data_dir.path().join("postgres.log.1")).unwrap().len(), MAX_LOG_BYTES + 1);
    }
}
