//! A second Postgres that follows a first, by streaming replication.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

/// A server that has all that the other has acknowledged: a commit there waits until it is here.
pub struct Standby {
    server: Child,
    _folder: TempDir,
    options: PgConnectOptions,
}

impl Standby {
    /// Copies a running server, follows it, and has it wait for us from now on.
    pub async fn of(first: &PgConnectOptions) -> Self {
        let mut direct = PgConnection::connect_with(first).await.unwrap();
        let bin = "select setting from pg_config where name = 'BINDIR'";
        let bin: PathBuf = sqlx::query_scalar::<_, String>(bin).fetch_one(&mut direct).await.unwrap().into();
        let sockets = first.get_socket().unwrap();
        let owner = std::fs::metadata(data_of(&mut direct).await).unwrap();
        let (uid, gid) = (owner.uid(), owner.gid());
        let folder = TempDir::new().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        chown(folder.path(), Some(uid), Some(gid)).unwrap();
        let data = folder.path().join("data");

        let mut copy = Command::new(bin.join("pg_basebackup"));
        copy.arg("--pgdata").arg(&data).arg("--host").arg(sockets).args(["--username", "customer_match"]);
        copy.args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf"]);
        let output = copy.env_clear().current_dir("/").uid(uid).gid(gid).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        // It ends with the pipe, however the test does.
        let mut server = Command::new("/bin/sh");
        server.args(["-c", r#""$@" & read -r _; kill -QUIT $!; wait"#, "sh"]).arg(bin.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(folder.path());
        server.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=300"]);
        server.env_clear().current_dir("/").uid(uid).gid(gid);
        server.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = server.spawn().unwrap();

        for statement in [
            "alter system set synchronous_standby_names = '*'",
            // A throw-away server's own setting is off, and on the command line.
            "alter role customer_match set synchronous_commit = on",
            "select pg_reload_conf()",
        ] {
            sqlx::raw_sql(statement).execute(&mut direct).await.unwrap();
        }
        let waits = "select exists (select from pg_stat_replication where sync_state = 'sync')";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut direct).await.unwrap() {}
        let options = first.clone().socket(folder.path());
        Self { server, _folder: folder, options }
    }

    pub fn connect_options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Commits of the first one wait for it no longer.
    pub async fn lag_behind(&self, first: &PgConnectOptions) {
        let mut direct = PgConnection::connect_with(first).await.unwrap();
        for statement in ["alter system reset synchronous_standby_names", "select pg_reload_conf()"] {
            sqlx::raw_sql(statement).execute(&mut direct).await.unwrap();
        }
        let waits = "select exists (select from pg_stat_replication where sync_state = 'sync')";
        while sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut direct).await.unwrap() {}
    }

    /// Runs a statement, such as one that pauses the replay.
    pub async fn execute(&self, sql: &str) {
        let mut direct = PgConnection::connect_with(&self.options).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut direct).await.unwrap();
    }

    /// Makes it a server of its own, which waits for nobody.
    pub async fn promote(&self) -> PgConnectOptions {
        let mut direct = PgConnection::connect_with(&self.options).await.unwrap();
        assert!(sqlx::query_scalar::<_, bool>("select pg_promote()").fetch_one(&mut direct).await.unwrap());
        self.options.clone()
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

/// Kills a server as a power failure does.
pub async fn kill(server: &PgConnectOptions) -> io::Result<()> {
    let mut direct = PgConnection::connect_with(server).await.unwrap();
    let pid_file = data_of(&mut direct).await.join("postmaster.pid");
    let pid = std::fs::read_to_string(pid_file)?.lines().next().unwrap().parse().unwrap();
    Ok(kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL)?)
}

async fn data_of(direct: &mut PgConnection) -> PathBuf {
    let data: String = sqlx::query_scalar("show data_directory").fetch_one(direct).await.unwrap();
    Path::new(&data).to_owned()
}
