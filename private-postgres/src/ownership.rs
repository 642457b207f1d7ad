//! File locks that let one process own a data directory and run its cluster, and others share the cluster.
//!
//! The owner holds an exclusive lock on the file `lock` and writes its role, process id and state into it. A shared user, a
//! subcommand on the owner's cluster, holds a shared lock on the file `users`. An owner that stops writes that state, so that
//! no shared user joins any more, and waits for an exclusive lock on `users`. The kernel releases the locks of a process when
//! it ends, even by `kill -9`, so none is ever stale.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, process};

use tokio::time::{Instant, sleep};

use super::{Error, POLL};

pub(super) const LOCK: &str = "lock";
pub(super) const USERS: &str = "users";

/// How long a stopping server waits for shared users. A subcommand waits without limit, as nothing waits for it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Command,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Ready { sockets: PathBuf },
    Stopping,
}

/// The owner as its lock file describes it.
#[derive(Debug)]
pub(super) struct Holder {
    role: Role,
    pid: u32,
    state: State,
}

impl Holder {
    /// How long to wait until this process releases the directory. Even for a running server that is not zero: the text may be
    /// that of a killed server, while the lock is that of a subcommand that has not written its own yet.
    pub(super) fn release_timeout(&self) -> Duration {
        match (self.role, &self.state) {
            (Role::Server, State::Starting | State::Ready { .. }) => Duration::from_millis(300),
            (Role::Server, State::Stopping) | (Role::Command, _) => Duration::from_secs(15),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let role = match self.role {
            Role::Server => "server",
            Role::Command => "command",
        };
        let (state, sockets) = match &self.state {
            State::Starting => ("starting", OsStr::new("")),
            State::Ready { sockets } => ("ready", sockets.as_os_str()),
            State::Stopping => ("stopping", OsStr::new("")),
        };
        [format!("{role} {} {state} ", self.pid).as_bytes(), sockets.as_bytes(), b"\n"].concat()
    }

    fn decode(text: &[u8]) -> Option<Holder> {
        let mut words = text.strip_suffix(b"\n")?.splitn(4, |byte| *byte == b' ');
        let role = match words.next()? {
            b"server" => Role::Server,
            b"command" => Role::Command,
            _ => return None,
        };
        let pid = str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let state = match (words.next()?, words.next()?) {
            (b"starting", _) => State::Starting,
            (b"ready", sockets) => State::Ready { sockets: OsStr::from_bytes(sockets).into() },
            (b"stopping", _) => State::Stopping,
            _ => return None,
        };
        Some(Holder { role, pid, state })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Server => "a server",
            Role::Command => "a command",
        };
        write!(f, "{role} (process {})", self.pid)
    }
}

pub(super) enum Claim {
    Owner(Ownership),
    /// Another process is the owner; `None` while that starts or ends.
    Taken(Option<Holder>),
}

/// The exclusive lock; dropping it releases the directory.
pub(super) struct Ownership {
    lock: File,
    data_dir: PathBuf,
    role: Role,
}

impl Ownership {
    pub(super) fn claim(data_dir: &Path, role: Role) -> Result<Claim, Error> {
        let path = data_dir.join(LOCK);
        let lock = open(&path)?;
        match lock.try_lock() {
            Ok(()) => {
                let ownership = Ownership { lock, data_dir: data_dir.to_owned(), role };
                // Before root shares the cluster of another user, who could not open a file of root's.
                open(&data_dir.join(USERS))?;
                ownership.publish(State::Starting)?;
                Ok(Claim::Owner(ownership))
            }
            Err(TryLockError::WouldBlock) => {
                let text = fs::read(&path).map_err(Error::io("read", &path))?;
                Ok(Claim::Taken(Holder::decode(&text)))
            }
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
        }
    }

    /// Lets shared users join.
    pub(super) fn ready(&self, sockets: &Path) -> Result<(), Error> {
        self.publish(State::Ready { sockets: sockets.to_owned() })
    }

    /// Lets no more shared users join, and waits until those that joined have left; a server for [`DRAIN_TIMEOUT`] at most.
    pub(super) async fn drain_shared_users(&self) -> Result<(), Error> {
        self.publish(State::Stopping)?;
        let path = self.data_dir.join(USERS);
        let users = open(&path)?;
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        loop {
            match users.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if self.role == Role::Server && Instant::now() > deadline => {
                    tracing::warn!("stopping the private Postgres although a subcommand still uses it");
                    return Ok(());
                }
                Err(TryLockError::WouldBlock) => sleep(POLL).await,
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
            }
        }
    }

    fn publish(&self, state: State) -> Result<(), Error> {
        let holder = Holder { role: self.role, pid: process::id(), state };
        self.lock
            .set_len(0)
            .and_then(|()| self.lock.write_all_at(&holder.encode(), 0))
            .map_err(Error::io("write", &self.data_dir.join(LOCK)))
    }
}

impl Drop for Ownership {
    /// Unlocks explicitly: closing the file is not enough while a child process that is being spawned holds a copy of it.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!("cannot unlock {}: {error}", self.data_dir.display());
        }
    }
}

/// A shared lock on the owner's cluster, which runs at least until this is dropped.
pub(super) struct SharedUser {
    users: File,
    pub(super) sockets: PathBuf,
}

impl SharedUser {
    /// Locks `users` if the owner is ready; `None` if it is not, or not any more.
    pub(super) fn join(data_dir: &Path) -> Result<Option<SharedUser>, Error> {
        let path = data_dir.join(USERS);
        let users = open(&path)?;
        match users.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        }
        // Read after locking: an owner that becomes `stopping` from here on waits for this lock.
        let path = data_dir.join(LOCK);
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        match Holder::decode(&text) {
            Some(Holder { state: State::Ready { sockets }, .. }) => Ok(Some(SharedUser { users, sockets })),
            _ => Ok(None),
        }
    }
}

impl Drop for SharedUser {
    fn drop(&mut self) {
        if let Err(error) = self.users.unlock() {
            tracing::warn!("cannot unlock the data directory: {error}");
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("open", path))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_owner_creates_what_shared_users_lock() {
        let dir = TempDir::new().unwrap();
        assert!(matches!(Ownership::claim(dir.path(), Role::Server).unwrap(), Claim::Owner(_)));
        assert!(dir.path().join(USERS).exists());
    }

    #[test]
    fn the_lock_file_round_trips() {
        for state in [State::Starting, State::Ready { sockets: "/a path".into() }, State::Stopping] {
            for role in [Role::Server, Role::Command] {
                let read = Holder::decode(&Holder { role, pid: 7, state: state.clone() }.encode()).unwrap();
                assert_eq!((read.role, read.pid, &read.state), (role, 7, &state));
            }
        }
        for broken in ["", "server", "server 1 ready /half", "server x ready /a\n", "king 1 ready /a\n"] {
            assert!(Holder::decode(broken.as_bytes()).is_none(), "{broken}");
        }
    }
}
