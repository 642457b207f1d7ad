//! PgBouncer before the tests' database, as Debian installs it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::geteuid;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use super::TestDatabase;

const PORT: u16 = 6432;

pub struct PgBouncer {
    process: Child,
    _folder: TempDir,
    pub options: PgConnectOptions,
}

impl PgBouncer {
    /// With its defaults but for the mode. `None` where it is not installed (the gate installs it), or Postgres has no socket.
    pub async fn start(database: &TestDatabase, pool_mode: &str) -> Option<Self> {
        let direct = database.options();
        let program =
            ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].iter().find(|path| fs::exists(path).unwrap());
        let (Some(program), Some(sockets)) = (program, direct.get_socket()) else {
            eprintln!("skipped: PgBouncer is not installed");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(path.join("users"), format!("\"{}\" \"\"\n", direct.get_username())).unwrap();
        let settings = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nunix_socket_dir = {path}\nlisten_port = {PORT}\n\
             auth_type = trust\nauth_file = {path}/users\npool_mode = {pool_mode}\n",
            sockets.display(),
            direct.get_port(),
            path = path.display(),
        );
        fs::write(path.join("pgbouncer.ini"), settings).unwrap();

        let mut command = Command::new(program);
        command.arg(path.join("pgbouncer.ini")).env_clear().current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if geteuid().is_root() {
            // It does not run as root, and only their owner may use the sockets.
            let owner = fs::metadata(sockets).unwrap();
            chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
            command.uid(owner.uid()).gid(owner.gid());
        }
        let mut process = command.spawn().unwrap();
        let options = direct.clone().socket(path).port(PORT).extra_float_digits(None);
        while PgConnection::connect_with(&options).await.is_err() {
            assert_eq!(process.try_wait().unwrap(), None, "PgBouncer has ended");
        }
        Some(Self { process, _folder: folder, options })
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
