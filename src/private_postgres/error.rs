use std::io;
use std::path::{Path, PathBuf};

/// Why the private Postgres could not be started, joined or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No server binaries on this machine.
    #[error(
        "no Postgres server (15 or newer) found; install one (Debian: `apt install postgresql`, Fedora: `dnf install \
         postgresql-server postgresql-contrib`, Alpine: `apk add postgresql postgresql-contrib`, macOS: `brew install \
         postgresql@17`) or set DATABASE_URL"
    )]
    NoBinaries,
    /// The directory that the settings name holds no server binaries.
    #[error("the directory {} holds no Postgres server binaries (`postgres` and `initdb`)", .0.display())]
    NoBinariesIn(PathBuf),
    /// The cluster was made by a major version that is not here.
    #[error(
        "the database in {} is of Postgres {wanted}, but only version {found} is installed here; install Postgres \
         {wanted}, or name another data directory with --data-dir",
        .data_dir.display()
    )]
    NoBinariesOfVersion {
        /// The cluster.
        data_dir: PathBuf,
        /// Its major version.
        wanted: u32,
        /// The major versions found.
        found: String,
    },
    /// No place for the default data directory.
    #[error("there is no home directory to keep the database in; name a data directory with --data-dir")]
    NoHome,
    /// The directory belongs to something else.
    #[error("the directory {} is not empty and holds no database of this server; name an empty or a new one with --data-dir", .0.display())]
    NotOurs(PathBuf),
    /// Started as root, and nobody to run Postgres as.
    #[error(
        "Postgres refuses to run as root, and this machine has neither a user `postgres` nor `nobody` to run it as; \
         start this server as another user"
    )]
    NoAccount,
    /// Started as root, and the user that runs Postgres cannot get at the data directory.
    #[error(
        "Postgres runs as the user `{account}`, who may not enter {}, on the way to the data directory {}; run `chmod o+x \
         {}`, or name a directory elsewhere with --data-dir",
        .blocked.display(), .data_dir.display(), .blocked.display()
    )]
    Unreachable {
        /// The data directory.
        data_dir: PathBuf,
        /// The outermost directory above it that is closed.
        blocked: PathBuf,
        /// The user.
        account: String,
    },
    /// Another process owns the directory.
    #[error(
        "{holder} already uses the data directory {}; wait for it to end, stop it, or name another data directory with --data-dir",
        .data_dir.display()
    )]
    AlreadyRunning {
        /// The data directory.
        data_dir: PathBuf,
        /// Who it is, in words.
        holder: String,
    },
    /// Postgres ended before it was ready.
    #[error("Postgres does not start; its log {} ends: {log_end}", .log.display())]
    Failed {
        /// The log file.
        log: PathBuf,
        /// Its last lines.
        log_end: String,
    },
    /// Postgres is alive, but not ready after all this time.
    #[error("Postgres is still not ready after {seconds} s; its log {} ends: {log_end}", .log.display())]
    NotReady {
        /// The log file.
        log: PathBuf,
        /// Its last lines.
        log_end: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Processes of the cluster outlive their time.
    #[error("processes of the Postgres in {} have still not ended after {seconds} s", .data_dir.display())]
    StillRunning {
        /// The data directory.
        data_dir: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// Postgres is ready, but does not take a connection or make the database.
    #[error("the private Postgres cannot be used: {0}")]
    Database(#[from] sqlx::Error),
    /// The file system or the operating system refused.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: says what was tried, and on what.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}
