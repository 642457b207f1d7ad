//! The errors of the private Postgres. Each message tells the operator what to do.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "no Postgres server (15 or newer) found; install one (Debian: `apt install postgresql`, Fedora: `dnf install \
         postgresql-server postgresql-contrib`, Alpine: `apk add postgresql postgresql-contrib`, macOS: `brew install \
         postgresql@17`) or set DATABASE_URL"
    )]
    NoBinaries,
    #[error("the directory {} holds no Postgres server binaries (`postgres` and `initdb`)", .0.display())]
    NoBinariesIn(PathBuf),
    #[error(
        "the database in {} is of Postgres {wanted}, but only version {found} is installed here; install Postgres \
         {wanted}, or name another data directory with --data-dir",
        .data_dir.display()
    )]
    NoBinariesOfVersion { data_dir: PathBuf, wanted: u32, found: String },
    #[error("there is no home directory to keep the database in; name a data directory with --data-dir")]
    NoHome,
    #[error("the directory {} is not empty and holds no database of this server; name an empty or a new one with --data-dir", .0.display())]
    NotOurs(PathBuf),
    #[error(
        "Postgres does not run as root, and this machine has neither a user `postgres` nor `nobody` to run it as; \
         start this server as another user"
    )]
    NoAccount,
    #[error(
        "Postgres runs as the user `{account}`, which may not enter {} on the path to the data directory {}; run `chmod o+x \
         {}`, or name a directory elsewhere with --data-dir",
        .blocked.display(), .data_dir.display(), .blocked.display()
    )]
    Unreachable {
        data_dir: PathBuf,
        /// The outermost directory of its path that the user may not enter.
        blocked: PathBuf,
        account: String,
    },
    #[error(
        "{} belongs to the user with the id {owner}, and this is the user {uid}; run this as that user, or give the directory to \
         this one (`chown -R {uid} {}` as root, while no server uses it), or name another one with --data-dir",
        .path.display(), .data_dir.display()
    )]
    ForeignFile { data_dir: PathBuf, path: PathBuf, owner: u32, uid: u32 },
    #[error(
        "the user with the id {uid} has no entry in /etc/passwd, and initdb needs one to create the database; add it \
         (`customer-match:x:{uid}:{uid}::/:/bin/false`), run this as another user, or set DATABASE_URL"
    )]
    NoPasswdEntry { uid: u32 },
    #[error(
        "{holder} already uses the data directory {}; wait for it to end, stop it, or name another data directory with --data-dir",
        .data_dir.display()
    )]
    AlreadyRunning { data_dir: PathBuf, holder: String },
    #[error("Postgres does not start; its log {} ends: {log_end}", .log.display())]
    Failed { log: PathBuf, log_end: String },
    #[error("Postgres is still not ready after {seconds} s; its log {} ends: {log_end}", .log.display())]
    NotReady { log: PathBuf, log_end: String, seconds: u64 },
    #[error("processes of the Postgres in {} have still not ended after {seconds} s", .data_dir.display())]
    StillRunning { data_dir: PathBuf, seconds: u64 },
    #[error("the private Postgres cannot be used: {0}")]
    Database(#[from] sqlx::Error),
    #[error("cannot {action} {}: {source}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    /// For `map_err`: adds the action and the path to an I/O error.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}
