//! One process owns a data directory and runs its cluster; others may use it.
//!
//! The owner holds `lock` exclusively and says in it who it is and how far it has come. A user, a command that has
//! joined the owner's cluster, holds `users` in common with other guests. An owner that stops says so, so that no more
//! guests come, and waits until it gets `users` for itself. All of it ends with the process, however it ends.

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
const USERS: &str = "users";

/// A server that is stopped does not wait longer than this for commands that use its cluster.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What kind of process owns the directory.
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

/// What the owner says of itself in the lock file.
#[derive(Debug)]
pub(super) struct Holder {
    role: Role,
    pid: u32,
    state: State,
}

impl Holder {
    /// How long it is worth to wait until this process lets go of the directory. Even for a server that runs that is not
    /// nothing: the words may be those of one that was killed, and the lock that of a command which has yet to write.
    pub(super) fn patience(&self) -> Duration {
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

/// What came of knocking at a data directory.
pub(super) enum Claim {
    /// The directory is ours.
    Owner(Ownership),
    /// Somebody else's; nothing is known of an owner that is just coming or going.
    Taken(Option<Holder>),
}

/// The directory is ours as long as this lives.
pub(super) struct Ownership {
    lock: File,
    data_dir: PathBuf,
    role: Role,
}

impl Ownership {
    /// Tries once to become the owner.
    pub(super) fn claim(data_dir: &Path, role: Role) -> Result<Claim, Error> {
        let path = data_dir.join(LOCK);
        let lock = open(&path)?;
        match lock.try_lock() {
            Ok(()) => {
                let ownership = Ownership { lock, data_dir: data_dir.to_owned(), role };
                ownership.say(State::Starting)?;
                Ok(Claim::Owner(ownership))
            }
            Err(TryLockError::WouldBlock) => {
                let text = fs::read(&path).map_err(Error::io("read", &path))?;
                Ok(Claim::Taken(Holder::decode(&text)))
            }
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
        }
    }

    /// Lets commands join the cluster.
    pub(super) fn ready(&self, sockets: &Path) -> Result<(), Error> {
        self.say(State::Ready { sockets: sockets.to_owned() })
    }

    /// No more guests; waits for those who are there. A server leaves in the end whoever is there.
    pub(super) async fn drain_shared_users(&self) -> Result<(), Error> {
        self.say(State::Stopping)?;
        let path = self.data_dir.join(USERS);
        let users = open(&path)?;
        let patience = Instant::now() + DRAIN_TIMEOUT;
        loop {
            match users.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if self.role == Role::Server && Instant::now() > patience => {
                    tracing::warn!("a command still uses the private Postgres, which stops now");
                    return Ok(());
                }
                Err(TryLockError::WouldBlock) => sleep(POLL).await,
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
            }
        }
    }

    fn say(&self, state: State) -> Result<(), Error> {
        let holder = Holder { role: self.role, pid: process::id(), state };
        self.lock
            .set_len(0)
            .and_then(|()| self.lock.write_all_at(&holder.encode(), 0))
            .map_err(Error::io("write", &self.data_dir.join(LOCK)))
    }
}

impl Drop for Ownership {
    /// Closing the file would not do while a child that is just being started holds a copy of it.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!("cannot unlock {}: {error}", self.data_dir.display());
        }
    }
}

/// The owner's cluster stays as long as this lives.
pub(super) struct SharedUser {
    users: File,
    pub(super) sockets: PathBuf,
}

impl SharedUser {
    /// Joins the cluster of the owner that said to be ready, unless it has changed its mind.
    pub(super) fn join(data_dir: &Path) -> Result<Option<SharedUser>, Error> {
        let path = data_dir.join(USERS);
        let users = open(&path)?;
        match users.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        }
        // Read only now: an owner that says `stopping` after this waits for us.
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

    use super::*;

    #[test]
    fn the_words_in_the_lock_file_are_read_back() {
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
