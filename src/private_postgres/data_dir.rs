//! Where the data live, and who may get at them.
//!
//! ```text
//! data directory/          of the user that starts the server
//!   lock, users         see `ownership`
//!   postgres.log
//!   postgres/           0700, of the user that runs Postgres: the same, or for root an unprivileged one
//!     data/             the cluster
//! ```

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::Error;

/// The longest path of a socket: macOS holds 103 bytes, Linux 107.
const LONGEST_SOCKET: usize = 103;
/// What /dev/shm must have free for throw-away clusters.
const ENOUGH_MEMORY: u64 = 1 << 30;

/// An unprivileged user to run Postgres as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// The user to run the cluster in `home` as: ourselves (`None`), or when we are root, which Postgres refuses, the
    /// one that it belongs to already, else `postgres`, else `nobody`.
    pub(super) fn to_run(home: Option<&Path>) -> Result<Option<Account>, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        if let Some(home) = home
            && let Ok(owner) = fs::metadata(home)
            && owner.uid() != 0
        {
            return Ok(Some(Account {
                name: format!("#{}", owner.uid()),
                uid: owner.uid(),
                gid: owner.gid(),
            }));
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let account = Account::named("postgres", &passwd).or_else(|| Account::named("nobody", &passwd));
        account.map(Some).ok_or(Error::NoAccount)
    }

    /// Reads `name:password:uid:gid:…`. macOS writes the ids of `nobody` as -2.
    fn named(name: &str, passwd: &str) -> Option<Account> {
        let id = |text: &str| text.parse().or_else(|_| text.parse().map(i32::cast_unsigned)).ok();
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            if fields.next() != Some(name) {
                return None;
            }
            Some(Account { name: name.to_owned(), uid: id(fields.nth(1)?)?, gid: id(fields.next()?)? })
        })
    }

    /// The outermost directory on the way to and including `directory` that the user may not enter.
    fn stopped_at<'a>(&self, dir: &'a Path) -> Option<&'a Path> {
        let closed = |dir: &&Path| {
            fs::metadata(dir).is_ok_and(|dir| {
                let permission = match () {
                    () if dir.uid() == self.uid => 0o100,
                    () if dir.gid() == self.gid => 0o010,
                    () => 0o001,
                };
                dir.mode() & permission == 0
            })
        };
        dir.ancestors().filter(closed).last()
    }
}

/// The data directory, made when it is not there yet. One that is used for something else is refused.
pub(super) fn open(setting: Option<&Path>) -> Result<PathBuf, Error> {
    let dir = match setting {
        Some(dir) => dir.to_owned(),
        None => {
            default_dir(rustix::process::geteuid().is_root(), env::var_os("XDG_DATA_HOME").map(PathBuf::from))
                .ok_or(Error::NoHome)?
        }
    };
    if !dir.exists() {
        // The unprivileged user that runs Postgres for root must get through to its own directory inside.
        let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
        let make = || {
            fs::DirBuilder::new().recursive(true).mode(mode).create(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode))
        };
        make().map_err(Error::io("create the data directory", &dir))?;
    }
    // Postgres' working directory is another, and what counts is who may enter the real one.
    let dir = dir.canonicalize().map_err(Error::io("find the data directory", &dir))?;
    let other_use = || -> io::Result<bool> {
        for entry in fs::read_dir(&dir)? {
            if entry?.file_name() != "lost+found" {
                // The lock is the first thing that we ever put there.
                return Ok(!dir.join(super::ownership::LOCK).exists());
            }
        }
        Ok(false)
    };
    match other_use() {
        Ok(false) => Ok(dir),
        Ok(true) => Err(Error::NotOurs(dir)),
        Err(error) => Err(Error::io("read the data directory", &dir)(error)),
    }
}

fn default_dir(root: bool, xdg_data_home: Option<PathBuf>) -> Option<PathBuf> {
    if root {
        // Not below root's home, which nobody else may enter.
        return Some("/var/lib/customer-match".into());
    }
    let parent = if cfg!(target_os = "macos") {
        env::home_dir()?.join("Library/Application Support")
    } else {
        match xdg_data_home.filter(|dir| dir.is_absolute()) {
            Some(dir) => dir,
            None => env::home_dir()?.join(".local/share"),
        }
    };
    Some(parent.join("customer-match"))
}

/// The home of the cluster within the data directory.
pub(super) fn home(dir: &Path) -> PathBuf {
    dir.join("postgres")
}

/// Makes the home of the cluster, for the user that runs Postgres alone.
pub(super) fn make_home(dir: &Path, account: Option<&Account>) -> Result<(), Error> {
    if let Some(account) = account
        && let Some(blocked) = account.stopped_at(dir)
    {
        return Err(Error::Unreachable {
            data_dir: dir.to_owned(),
            blocked: blocked.to_owned(),
            account: account.name.clone(),
        });
    }
    let home = home(dir);
    let make = || {
        if !home.exists() {
            fs::DirBuilder::new().mode(0o700).create(&home)?;
        }
        match account {
            Some(account) if fs::metadata(&home)?.uid() != account.uid => {
                chown(&home, Some(account.uid), Some(account.gid))
            }
            _ => Ok(()),
        }
    };
    make().map_err(Error::io("create the directory", &home))
}

/// A new name for a directory that lives no longer than Postgres runs.
pub(super) fn transient_name(parent: &Path) -> PathBuf {
    parent.join(format!("customer-match-{:016x}", rand::random::<u64>()))
}

/// Where the socket lies, and whether that is a directory of its own, because the path into `home` would be too long.
pub(super) fn sockets(home: &Path) -> (PathBuf, bool) {
    if fits_socket(home) { (home.to_owned(), false) } else { (transient_name(Path::new("/tmp")), true) }
}

fn fits_socket(dir: &Path) -> bool {
    dir.join(".s.PGSQL.5432").as_os_str().len() <= LONGEST_SOCKET
}

/// A name for the data directory of a throw-away cluster: in memory where there is enough.
pub(super) fn throw_away(account: Option<&Account>) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let enough = rustix::fs::statvfs(memory).is_ok_and(|fs| fs.f_bavail * fs.f_frsize >= ENOUGH_MEMORY);
    enough
        .then(|| memory.to_owned())
        .into_iter()
        .chain([env::temp_dir()])
        .filter(|parent| account.is_none_or(|account| account.stopped_at(parent).is_none()))
        .map(|parent| transient_name(&parent))
        .find(|dir| fits_socket(&home(dir)))
        .unwrap_or_else(|| transient_name(Path::new("/tmp")))
}

#[cfg(test)]
mod tests {

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn ids_are_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres2:x:1:1::/:\npostgres:x:101:104:,,,:/:/bin/sh\n\
                      nobody:*:-2:-2:Nobody:/:/bin/false\n";
        let account = |name: &str, uid, gid| Some(Account { name: name.to_owned(), uid, gid });
        assert_eq!(Account::named("postgres", passwd), account("postgres", 101, 104));
        assert_eq!(Account::named("nobody", passwd), account("nobody", u32::MAX - 1, u32::MAX - 1));
        assert_eq!(Account::named("_postgres", passwd), None);
    }

    #[test]
    fn a_closed_folder_on_the_way_is_found() {
        let outer = TempDir::new().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Account { name: "stranger".to_owned(), uid: 4_000_000, gid: 4_000_000 };
        assert_eq!(stranger.stopped_at(&inner), Some(outer.path()));
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o711)).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(stranger.stopped_at(&inner), None);
    }

    #[test]
    fn a_folder_in_other_use_is_refused() {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        assert!(open(Some(dir.path())).is_ok());
        fs::write(dir.path().join("thesis.txt"), "").unwrap();
        assert!(matches!(open(Some(dir.path())), Err(Error::NotOurs(_))));
        fs::write(dir.path().join("lock"), "").unwrap();
        assert!(open(Some(dir.path())).is_ok());
    }

    #[test]
    fn the_default_folder_is_the_platform_s() {
        assert_eq!(default_dir(true, None).unwrap(), Path::new("/var/lib/customer-match"));
        if cfg!(not(target_os = "macos")) {
            let absolute = default_dir(false, Some("/data".into())).unwrap();
            assert_eq!(absolute, Path::new("/data/customer-match"));
            let relative = default_dir(false, Some("data".into())).unwrap();
            assert!(relative.ends_with(".local/share/customer-match"), "{relative:?}");
        }
    }

    #[test]
    fn a_long_path_has_its_socket_elsewhere() {
        let short = Path::new("/var/lib/customer-match/postgres");
        assert_eq!(sockets(short), (short.to_owned(), false));
        let (elsewhere, own) = sockets(&Path::new("/").join("long/".repeat(20)));
        assert!(own && fits_socket(&elsewhere), "{elsewhere:?}");
    }
}
