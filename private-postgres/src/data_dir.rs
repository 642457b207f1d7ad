//! The directories of a cluster, and the user that runs it.
//!
//! ```text
//! data directory/       owned by the user that starts the server
//!   lock, users         see [`ownership`](super::ownership)
//!   postgres.log
//!   postgres/           home; mode 0700, owned by the user that runs Postgres: the same, or for root an unprivileged one
//!     data/             the cluster
//! ```

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::Error;

const HOME: &str = "postgres";
/// What Postgres and initdb say.
pub(super) const LOG: &str = "postgres.log";
/// Longest path of a Unix socket: 103 bytes on macOS, 107 on Linux.
const MAX_SOCKET_PATH: usize = 103;
/// Free space that /dev/shm must have for a throw-away cluster.
const MIN_FREE_MEMORY: u64 = 1 << 30;

/// An unprivileged user that runs Postgres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// The user for the cluster in `home`. `None`, the user of this process, unless that is root, which Postgres does not run
    /// as: then the owner of an existing home, else `postgres`, else `nobody`.
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

    /// Parses `name:password:uid:gid:…`. On macOS the ids of `nobody` are -2.
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

    /// The outermost directory of the path `dir` that the user may not enter.
    fn blocked_at<'a>(&self, dir: &'a Path) -> Option<&'a Path> {
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

/// Returns the data directory and creates it if it does not exist. One that contains other files is an error.
pub(super) fn open(setting: Option<&Path>) -> Result<PathBuf, Error> {
    let dir = match setting {
        Some(dir) => dir.to_owned(),
        None => {
            default_dir(rustix::process::geteuid().is_root(), env::var_os("XDG_DATA_HOME").map(PathBuf::from))
                .ok_or(Error::NoHome)?
        }
    };
    if !dir.exists() {
        // The unprivileged user that runs Postgres for root must be able to enter its home inside.
        let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
        let make = || {
            fs::DirBuilder::new().recursive(true).mode(mode).create(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode))
        };
        make().map_err(Error::io("create the data directory", &dir))?;
    }
    // Postgres has another working directory, and `blocked_at` needs the real path.
    let dir = dir.canonicalize().map_err(Error::io("find the data directory", &dir))?;
    let other_use = || -> io::Result<bool> {
        for entry in fs::read_dir(&dir)? {
            if entry?.file_name() != "lost+found" {
                // The lock is the first file that this server creates.
                return Ok(!dir.join(super::ownership::LOCK).exists());
            }
        }
        Ok(false)
    };
    match other_use() {
        Ok(false) => {}
        Ok(true) => return Err(Error::NotOurs(dir)),
        Err(error) => return Err(Error::io("read the data directory", &dir)(error)),
    }
    let uid = rustix::process::geteuid();
    // Root can use and give away what belongs to others. The directory itself may belong to root, as a volume does.
    for name in [super::ownership::LOCK, super::ownership::USERS, LOG, HOME].iter().filter(|_| !uid.is_root())
    {
        let path = dir.join(name);
        match take_ownership(&path, None) {
            Ok(None) => {}
            Ok(Some((path, owner))) => {
                return Err(Error::ForeignFile { data_dir: dir, path, owner, uid: uid.as_raw() });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("examine", &path)(error)),
        }
    }
    Ok(dir)
}

fn default_dir(root: bool, xdg_data_home: Option<PathBuf>) -> Option<PathBuf> {
    if root {
        // The home of root cannot be entered by the user that runs Postgres.
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

/// The directory within the data directory that belongs to the user that runs Postgres.
pub(super) fn home(dir: &Path) -> PathBuf {
    dir.join(HOME)
}

/// The cluster within its home. It exists once initdb has finished.
pub(super) fn cluster(home: &Path) -> PathBuf {
    home.join("data")
}

/// Creates the home unless it exists. Makes what a volume or a copy may have changed such that Postgres accepts it: the cluster
/// belongs to the user that runs Postgres, and no other user may enter.
pub(super) fn prepare_home(dir: &Path, account: Option<&Account>) -> Result<(), Error> {
    if let Some(account) = account
        && let Some(blocked) = account.blocked_at(dir)
    {
        return Err(Error::Unreachable {
            data_dir: dir.to_owned(),
            blocked: blocked.to_owned(),
            account: account.name.clone(),
        });
    }
    let home = home(dir);
    if !home.exists() {
        let created = fs::DirBuilder::new().mode(0o700).create(&home);
        created.map_err(Error::io("create the directory", &home))?;
    }
    if account.is_some() {
        take_ownership(&home, account).map_err(Error::io("change the owner of", &home))?;
    }
    // An empty one, such as a mount point, is no cluster. Others remain.
    let _ = fs::remove_dir(cluster(&home));
    for dir in [&home, &cluster(&home)] {
        // Kubernetes' fsGroup gives the group all rights, and a copy has those of the umask.
        if fs::metadata(dir).is_ok_and(|dir| dir.mode() & 0o7777 != 0o700) {
            let private = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
            private.map_err(Error::io("take the rights of other users on", dir))?;
        }
    }
    Ok(())
}

/// Gives a directory and all in it to the account. Only root can: without an account it returns the first file of another user, with
/// that user's id.
fn take_ownership(path: &Path, account: Option<&Account>) -> io::Result<Option<(PathBuf, u32)>> {
    let metadata = fs::symlink_metadata(path)?;
    match account {
        Some(account) if metadata.uid() != account.uid => {
            lchown(path, Some(account.uid), Some(account.gid))?;
        }
        None if metadata.uid() != rustix::process::geteuid().as_raw() => {
            return Ok(Some((path.to_owned(), metadata.uid())));
        }
        _ => {}
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            match take_ownership(&entry?.path(), account) {
                Ok(None) => {}
                // Deleted meanwhile, by a Postgres that runs or is just ending.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => return result,
            }
        }
    }
    Ok(None)
}

/// A random name for a directory that exists only while Postgres runs.
pub(super) fn transient_name(parent: &Path) -> PathBuf {
    parent.join(format!("customer-match-{:016x}", rand::random::<u64>()))
}

/// The directory of the socket, and whether it is a separate one because the path in `home` would be too long.
pub(super) fn sockets(home: &Path) -> (PathBuf, bool) {
    if fits_socket(home) { (home.to_owned(), false) } else { (transient_name(Path::new("/tmp")), true) }
}

fn fits_socket(dir: &Path) -> bool {
    dir.join(".s.PGSQL.5432").as_os_str().len() <= MAX_SOCKET_PATH
}

/// A name for the data directory of a throw-away cluster, in memory if there is enough.
pub(super) fn throw_away(account: Option<&Account>) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let enough = rustix::fs::statvfs(memory).is_ok_and(|fs| fs.f_bavail * fs.f_frsize >= MIN_FREE_MEMORY);
    enough
        .then(|| memory.to_owned())
        .into_iter()
        .chain([env::temp_dir()])
        .filter(|parent| account.is_none_or(|account| account.blocked_at(parent).is_none()))
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
    fn finds_the_closed_directory_of_a_path() {
        let outer = TempDir::new().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Account { name: "stranger".to_owned(), uid: 4_000_000, gid: 4_000_000 };
        assert_eq!(stranger.blocked_at(&inner), Some(outer.path()));
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o711)).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(stranger.blocked_at(&inner), None);
    }

    #[test]
    fn a_directory_with_other_files_is_an_error() {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        assert!(open(Some(dir.path())).is_ok());
        fs::write(dir.path().join("thesis.txt"), "").unwrap();
        assert!(matches!(open(Some(dir.path())), Err(Error::NotOurs(_))));
        fs::write(dir.path().join("lock"), "").unwrap();
        assert!(open(Some(dir.path())).is_ok());
    }

    #[test]
    fn the_home_is_closed_to_others_and_an_empty_cluster_is_removed() {
        let dir = TempDir::new().unwrap();
        let account = rustix::process::geteuid().is_root().then(|| Account {
            name: "stranger".to_owned(),
            uid: 4_000_000,
            gid: 4_000_000,
        });
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let (home, owner) = (home(dir.path()), account.as_ref());
        let mode = |dir: &Path| fs::metadata(dir).unwrap().mode() & 0o7777;
        fs::create_dir_all(cluster(&home)).unwrap();
        prepare_home(dir.path(), owner).unwrap();
        assert!(!cluster(&home).exists());

        fs::create_dir_all(cluster(&home).join("base")).unwrap();
        for dir in [&home, &cluster(&home)] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o2770)).unwrap();
        }
        prepare_home(dir.path(), owner).unwrap();
        assert_eq!([mode(&home), mode(&cluster(&home))], [0o700; 2]);
        if let Some(account) = owner {
            let base = fs::metadata(cluster(&home).join("base")).unwrap();
            assert_eq!((base.uid(), base.gid()), (account.uid, account.gid));
        }
    }

    #[test]
    fn the_default_depends_on_the_platform() {
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
