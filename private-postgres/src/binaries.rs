//! Finds the server binaries `postgres` and `initdb`, of the version that a cluster needs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::Error;

/// Older versions are past their end of life and lack statements that the schema uses.
const OLDEST: u32 = 15;

/// The directories where server binaries may be, in the order of preference. Not all exist. `root` is `/` except in tests.
fn candidates(path: Option<&OsStr>, root: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = path.map(|path| env::split_paths(path).collect()).unwrap_or_default();
    dirs.extend(versions(&root.join("usr/lib/postgresql"), ""));
    dirs.extend(versions(&root.join("opt/homebrew/opt"), "postgresql@"));
    dirs.extend(versions(&root.join("usr/local/opt"), "postgresql@"));
    dirs.extend(versions(&root.join("Applications/Postgres.app/Contents/Versions"), ""));
    dirs.push(root.join("usr/local/pgsql/bin"));
    dirs
}

/// The directories `{parent}/{prefix}{number}/bin`, the highest number first.
fn versions(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

/// The directory behind a symbolic link to `initdb`, which expects `postgres` beside itself: a link in `/usr/local/bin` does
/// not work.
fn resolve(dir: &Path) -> Option<PathBuf> {
    let initdb = dir.join("initdb").canonicalize().ok()?;
    let bin = initdb.parent()?;
    bin.join("postgres").is_file().then(|| bin.to_owned())
}

/// The major version of the binaries in `bin`: `postgres (PostgreSQL) 15.18 (Debian …)` is 15.
fn major_version(bin: &Path) -> Option<u32> {
    let output = Command::new(bin.join("postgres")).arg("--version").env_clear().output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_once("(PostgreSQL) ")?.1;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The directory of the server binaries for the cluster in `data`, which may not exist yet. `setting` is preferred.
pub(super) fn find(setting: Option<&Path>, data: &Path) -> Result<PathBuf, Error> {
    let path = env::var_os("PATH");
    let candidates = candidates(path.as_deref(), Path::new("/"));
    choose(setting, candidates, data, major_version)
}

fn choose(
    setting: Option<&Path>,
    candidates: Vec<PathBuf>,
    data: &Path,
    major_version: impl Fn(&Path) -> Option<u32>,
) -> Result<PathBuf, Error> {
    let setting =
        setting.map(|dir| resolve(dir).ok_or_else(|| Error::NoBinariesIn(dir.to_owned()))).transpose()?;
    let wanted = cluster_version(data)?;
    let mut found = Vec::new();
    for bin in setting.into_iter().chain(candidates.iter().filter_map(|dir| resolve(dir))) {
        match major_version(&bin) {
            Some(version) if wanted.map_or(version >= OLDEST, |wanted| wanted == version) => return Ok(bin),
            Some(version) if !found.contains(&version) => found.push(version),
            _ => {}
        }
    }
    match wanted {
        Some(wanted) if !found.is_empty() => Err(Error::NoBinariesOfVersion {
            data_dir: data.to_owned(),
            wanted,
            found: found.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        }),
        _ => Err(Error::NoBinaries),
    }
}

/// The major version of the cluster in `data`; `None` if the directory does not exist.
fn cluster_version(data: &Path) -> Result<Option<u32>, Error> {
    if !data.exists() {
        return Ok(None);
    }
    let version = fs::read_to_string(data.join("PG_VERSION")).ok().and_then(|text| text.trim().parse().ok());
    version.map(Some).ok_or_else(|| Error::NotOurs(data.to_owned()))
}

#[cfg(test)]
mod tests {

    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// Programs whose version is the text of the file `postgres`.
    fn install(bin: &Path, version: u32) {
        fs::create_dir_all(bin).unwrap();
        fs::write(bin.join("initdb"), "").unwrap();
        fs::write(bin.join("postgres"), version.to_string()).unwrap();
    }

    fn made_up_version(bin: &Path) -> Option<u32> {
        fs::read_to_string(bin.join("postgres")).ok()?.parse().ok()
    }

    fn find_in(root: &Path, path: &[&str], setting: Option<&str>) -> Result<PathBuf, Error> {
        let path = env::join_paths(path.iter().map(|dir| root.join(dir))).unwrap();
        let setting = setting.map(|dir| root.join(dir));
        choose(setting.as_deref(), candidates(Some(&path), root), &root.join("data"), made_up_version)
    }

    #[test]
    fn prefers_the_setting_then_path_then_the_newest_known_directory() {
        let root = TempDir::new().unwrap();
        let order = [
            ("mine", 15),
            ("tools", 16),
            ("usr/lib/postgresql/17/bin", 17),
            ("usr/lib/postgresql/9/bin", 9),
            ("opt/homebrew/opt/postgresql@18/bin", 18),
            ("opt/homebrew/opt/postgresql@15/bin", 15),
            ("usr/local/opt/postgresql@16/bin", 16),
            ("Applications/Postgres.app/Contents/Versions/17/bin", 17),
            ("usr/local/pgsql/bin", 15),
        ];
        for (dir, version) in order {
            install(&root.path().join(dir), version);
        }
        let mut setting = Some("mine");
        for (dir, version) in order {
            if version >= OLDEST {
                assert_eq!(
                    find_in(root.path(), &["nothing", "tools"], setting).unwrap(),
                    root.path().join(dir)
                );
            }
            setting = None;
            fs::remove_dir_all(root.path().join(dir)).unwrap();
        }
        let error = find_in(root.path(), &["nothing", "tools"], None).unwrap_err();
        assert!(matches!(error, Error::NoBinaries), "{error}");
    }

    #[test]
    fn follows_a_link_to_the_real_directory() {
        let root = TempDir::new().unwrap();
        install(&root.path().join("cellar/bin"), 16);
        fs::create_dir(root.path().join("links")).unwrap();
        symlink(root.path().join("cellar/bin/initdb"), root.path().join("links/initdb")).unwrap();
        assert_eq!(find_in(root.path(), &["links"], None).unwrap(), root.path().join("cellar/bin"));
    }

    #[test]
    fn an_existing_cluster_needs_binaries_of_its_version() {
        let root = TempDir::new().unwrap();
        install(&root.path().join("usr/lib/postgresql/17/bin"), 17);
        install(&root.path().join("usr/lib/postgresql/16/bin"), 16);
        fs::create_dir(root.path().join("data")).unwrap();
        fs::write(root.path().join("data/PG_VERSION"), "16\n").unwrap();
        assert_eq!(find_in(root.path(), &[], None).unwrap(), root.path().join("usr/lib/postgresql/16/bin"));

        fs::write(root.path().join("data/PG_VERSION"), "15\n").unwrap();
        let error = find_in(root.path(), &[], None).unwrap_err().to_string();
        assert!(error.contains("is of Postgres 15, but only version 17, 16 is installed here"), "{error}");
    }

    #[test]
    fn a_directory_without_a_cluster_is_an_error() {
        let root = TempDir::new().unwrap();
        install(&root.path().join("usr/lib/postgresql/17/bin"), 17);
        fs::create_dir(root.path().join("data")).unwrap();
        fs::write(root.path().join("data/thesis.txt"), "").unwrap();
        assert!(matches!(find_in(root.path(), &[], None), Err(Error::NotOurs(_))));
    }

    #[test]
    fn a_setting_without_binaries_is_an_error() {
        let root = TempDir::new().unwrap();
        install(&root.path().join("usr/lib/postgresql/17/bin"), 17);
        assert!(matches!(find_in(root.path(), &[], Some("mine")), Err(Error::NoBinariesIn(_))));
    }

    #[test]
    fn ignores_older_versions() {
        let root = TempDir::new().unwrap();
        install(&root.path().join("usr/lib/postgresql/14/bin"), 14);
        assert!(matches!(find_in(root.path(), &[], None), Err(Error::NoBinaries)));
    }
}
