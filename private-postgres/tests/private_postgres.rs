//! The private Postgres, with real processes that are really killed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use private_postgres::{Error, PrivatePostgres, Settings};
use rstest::rstest;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

/// A data directory that does not exist yet, deleted after the test.
struct TestDataDir(TempDir);

impl TestDataDir {
    fn new() -> TestDataDir {
        let data_dir = TempDir::new().unwrap();
        // The user that runs Postgres for root must get through.
        fs::set_permissions(&data_dir, Permissions::from_mode(0o711)).unwrap();
        TestDataDir(data_dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("data directory")
    }

    fn settings(&self) -> Settings {
        Settings { data_dir: Some(self.path()), ..Settings::default() }
    }

    fn cluster(&self) -> PathBuf {
        self.path().join("postgres/data")
    }

    fn postmaster(&self) -> u32 {
        postmaster(&self.cluster())
    }

    fn configure(&self, line: &str) {
        let file = self.cluster().join("postgresql.conf");
        let mut file = OpenOptions::new().append(true).open(file).unwrap();
        writeln!(file, "{line}").unwrap();
    }

    async fn until_log_says(&self, words: &str) {
        let log = self.path().join("postgres.log");
        until("the log says so", async || fs::read_to_string(&log).unwrap().contains(words)).await;
    }

    async fn until_owner_is(&self, state: &str) {
        let lock = self.path().join("lock");
        until("the owner is so far", async || fs::read_to_string(&lock).unwrap_or_default().contains(state))
            .await;
    }
}

fn postmaster(cluster: &Path) -> u32 {
    fs::read_to_string(cluster.join("postmaster.pid")).unwrap().lines().next().unwrap().parse().unwrap()
}

async fn query(postgres: &PrivatePostgres, sql: &str) -> Result<String, sqlx::Error> {
    let mut connection = PgConnection::connect_with(&postgres.connect_options()).await?;
    let answer = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(answer)
}

async fn works(postgres: &PrivatePostgres) -> bool {
    query(postgres, "SELECT 'yes'").await.is_ok()
}

async fn setting(postgres: &PrivatePostgres, name: &str) -> String {
    query(postgres, &format!("SHOW {name}")).await.unwrap()
}

async fn leave_a_row(postgres: &PrivatePostgres) {
    let mut connection = PgConnection::connect_with(&postgres.connect_options()).await.unwrap();
    let sql = "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('still here')";
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn row_is_there(postgres: &PrivatePostgres) -> bool {
    query(postgres, "SELECT word FROM kept").await.unwrap() == "still here"
}

/// A process of its own that runs a private Postgres: this test binary again, with the one test `process`.
struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    fn spawn(how: &str, directory: &Path) -> Process {
        Process::spawn_with(how, directory, &[])
    }

    fn spawn_with(how: &str, directory: &Path, variables: &[(&str, &str)]) -> Process {
        let mut command = Process::command(how, directory);
        command.envs(variables.iter().copied());
        Process::run(command)
    }

    /// As another user, which only root may.
    fn spawn_as(uid: u32, how: &str, directory: &Path) -> Process {
        let mut command = Process::command(how, directory);
        command.uid(uid).gid(uid);
        Process::run(command)
    }

    fn command(how: &str, directory: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process", "--ignored", "--nocapture"]);
        command.env("HOW", how).env("DIRECTORY", directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    fn run(mut command: Command) -> Process {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Process { child, stdout }
    }

    /// Started, and ready.
    fn start(how: &str, directory: &Path) -> Process {
        let mut process = Process::spawn(how, directory);
        process.line("ready ");
        process
    }

    /// Waits for a line of its output with these words; the rest of it.
    fn line(&mut self, words: &str) -> String {
        let mut line = String::new();
        while self.stdout.read_line(&mut line).unwrap() > 0 {
            if let Some((_, rest)) = line.trim_end().split_once(words) {
                return rest.to_owned();
            }
            line.clear();
        }
        panic!("the process ended and did not say `{words}`");
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop.
    fn release(&mut self) {
        drop(self.child.stdin.take());
    }

    fn stop(mut self) {
        self.release();
        self.line("stopped");
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test, but what [`Process`] runs.
#[tokio::test]
#[ignore = "the other process of the tests here"]
async fn process() {
    let directory = std::env::var_os("DIRECTORY").unwrap();
    let settings = Settings { data_dir: Some(directory.into()), ..Settings::default() };
    let postgres = match std::env::var("HOW").unwrap().as_str() {
        "server" => PrivatePostgres::start(&settings).await,
        "command" => PrivatePostgres::attach_or_start(&settings).await,
        "throw-away" => PrivatePostgres::start_throw_away().await,
        how => panic!("no such way: {how}"),
    };
    let postgres = match postgres {
        Ok(postgres) => postgres,
        Err(error) => return println!("error: {error}"),
    };
    assert!(works(&postgres).await);
    let bystander = std::env::var_os("BYSTANDER").map(|_| Command::new("sleep").arg("1000").spawn().unwrap());
    println!("ready {}", postgres.data_dir().display());
    if let Some(bystander) = bystander {
        println!("bystander {}", bystander.id());
    }
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()).unwrap()).await.unwrap();
    assert!(works(&postgres).await);
    postgres.stop().await.unwrap();
    println!("stopped");
}

/// A line of `ps`; no zombies.
struct Entry {
    pid: u32,
    parent: u32,
    group: u32,
}

fn processes() -> Vec<Entry> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid=,pgid=,stat="]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let entry = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let number = |index: usize| fields[index].parse().unwrap();
        (!fields[3].starts_with('Z')).then(|| Entry { pid: number(0), parent: number(1), group: number(2) })
    };
    text.lines().filter_map(entry).collect()
}

/// All that a process has started, and what that has.
fn descendants(pid: u32) -> Vec<u32> {
    let all = processes();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|entry| entry.parent == parent).map(|entry| entry.pid));
        next += 1;
    }
    found.split_off(1)
}

fn entry(pid: u32) -> Entry {
    processes().into_iter().find(|entry| entry.pid == pid).unwrap()
}

/// The watchdog over a postmaster, and all below it.
fn family(postmaster: u32) -> Vec<u32> {
    let watchdog = entry(postmaster).parent;
    [vec![watchdog], descendants(watchdog)].concat()
}

fn alive(pids: &[u32]) -> Vec<u32> {
    processes().into_iter().map(|entry| entry.pid).filter(|pid| pids.contains(pid)).collect()
}

fn kill_9(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(Instant::now() < deadline, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_ended(pids: &[u32]) {
    assert!(!pids.is_empty());
    until("all processes have ended", async || alive(pids).is_empty()).await;
}

async fn until_it_works(postgres: &PrivatePostgres) {
    until("connections work", async || works(postgres).await).await;
}

// Start and stop

#[tokio::test]
async fn a_new_directory_gets_a_durable_cluster_that_is_used_again() {
    let data_dir = TestDataDir::new();
    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    for name in ["fsync", "synchronous_commit", "full_page_writes", "data_checksums"] {
        assert_eq!(setting(&postgres, name).await, "on", "{name}");
    }
    assert_eq!(setting(&postgres, "listen_addresses").await, "");
    assert_eq!(setting(&postgres, "server_encoding").await, "UTF8");
    let database = "SELECT concat_ws(' ', current_database(), current_user, datcollate, datctype) FROM pg_database \
                    WHERE datname = current_database()";
    let expected = if cfg!(target_os = "macos") {
        "customer_match customer_match C"
    } else {
        "customer_match customer_match C.UTF-8 C.UTF-8"
    };
    assert!(query(&postgres, database).await.unwrap().starts_with(expected));

    for directory in ["postgres", "postgres/data"] {
        let directory = fs::metadata(data_dir.path().join(directory)).unwrap();
        assert_eq!(directory.mode() & 0o777, 0o700);
        assert_ne!(directory.uid(), 0, "Postgres does not run as root");
    }
    let own = fs::metadata(data_dir.path()).unwrap();
    assert_eq!(own.uid(), geteuid().as_raw());
    assert_eq!(own.mode() & 0o777, if geteuid().is_root() { 0o711 } else { 0o700 });

    leave_a_row(&postgres).await;
    let all = family(data_dir.postmaster());
    postgres.stop().await.unwrap();
    assert_eq!(alive(&all), [] as [u32; 0], "outlived stop()");

    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    assert!(row_is_there(&postgres).await);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_has_a_process_group_of_its_own() {
    let data_dir = TestDataDir::new();
    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    let postmaster = entry(data_dir.postmaster());
    assert_eq!(postmaster.group, postmaster.parent, "Ctrl-C must not reach Postgres");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn dropping_it_stops_postgres_too() {
    let data_dir = TestDataDir::new();
    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    let all = family(data_dir.postmaster());
    drop(postgres);
    until_ended(&all).await;
}

#[test]
fn variables_of_postgres_do_not_disturb() {
    let data_dir = TestDataDir::new();
    let variables = [
        ("PGHOST", "nowhere.invalid"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGUSER", "nobody"),
        ("PGDATABASE", "nothing"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/nowhere"),
        ("PGAPPNAME", "nothing"),
        ("PGDATA", "/nowhere"),
        ("LC_ALL", "xx_XX.invalid"),
    ];
    let mut process = Process::spawn_with("server", &data_dir.path(), &variables);
    process.line("ready ");
    process.stop();
}

#[tokio::test]
async fn without_the_locale_c_utf_8_it_is_c() {
    let data_dir = TestDataDir::new();
    // A `locale` that says `charmap`, and not `UTF-8`.
    std::os::unix::fs::symlink("/bin/echo", data_dir.0.path().join("locale")).unwrap();
    let path = format!("{}:{}", data_dir.0.path().display(), std::env::var("PATH").unwrap());
    let mut process = Process::spawn_with("server", &data_dir.path(), &[("PATH", &path)]);
    process.line("ready ");
    let command = PrivatePostgres::attach_or_start(&data_dir.settings()).await.unwrap();
    let locale = "SELECT concat_ws(' ', datcollate, datctype, pg_encoding_to_char(encoding)) FROM pg_database \
                  WHERE datname = current_database()";
    assert_eq!(query(&command, locale).await.unwrap(), "C C UTF8");
    command.stop().await.unwrap();
    process.stop();
}

#[tokio::test]
async fn a_long_path_has_its_socket_in_a_short_one_that_is_deleted() {
    let data_dir = TestDataDir::new();
    fs::create_dir(data_dir.path()).unwrap();
    let directory = data_dir.path().join("with a long name ".repeat(6));
    let settings = Settings { data_dir: Some(directory.clone()), ..Settings::default() };
    let sockets = |postgres: &PrivatePostgres| postgres.connect_options().get_socket().unwrap().clone();

    let postgres = PrivatePostgres::start(&settings).await.unwrap();
    let short = sockets(&postgres);
    assert_eq!(fs::metadata(&short).unwrap().mode() & 0o777, 0o700);
    let user = PrivatePostgres::attach_or_start(&settings).await.unwrap();
    assert_eq!(sockets(&user), short);
    assert!(works(&user).await);
    user.stop().await.unwrap();
    // The same after a crash.
    kill_9(postmaster(&directory.join("postgres/data")));
    until_it_works(&postgres).await;
    postgres.stop().await.unwrap();
    assert!(!short.exists());

    let process = Process::start("server", &directory);
    let user = PrivatePostgres::attach_or_start(&settings).await.unwrap();
    let short = sockets(&user);
    assert!(short.exists());
    process.kill();
    until("the directory of the socket is deleted", async || !short.exists()).await;
}

// Death

#[tokio::test]
async fn nothing_outlives_a_server_that_is_killed() {
    let data_dir = TestDataDir::new();
    let process = Process::start("server", &data_dir.path());
    let left = descendants(process.pid());
    assert!(left.contains(&data_dir.postmaster()));
    process.kill();
    until_ended(&left).await;
    assert!(!data_dir.cluster().join("postmaster.pid").exists(), "a shutdown, not a crash");
}

#[tokio::test]
async fn the_next_start_after_a_kill_works_at_once() {
    let data_dir = TestDataDir::new();
    let mut process = Process::spawn_with("server", &data_dir.path(), &[("BYSTANDER", "yes")]);
    process.line("ready ");
    // Another child of the server, which must not hold the pipe.
    let bystander: u32 = process.line("bystander ").parse().unwrap();
    let mut left = descendants(process.pid());
    assert!(left.contains(&data_dir.postmaster()) && left.contains(&bystander));
    left.retain(|pid| *pid != bystander);
    let command = PrivatePostgres::attach_or_start(&data_dir.settings()).await.unwrap();
    leave_a_row(&command).await;
    command.stop().await.unwrap();
    process.kill();

    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    assert!(row_is_there(&postgres).await);
    until_ended(&left).await;
    assert_eq!(alive(&[bystander]), [bystander]);
    kill_9(bystander);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn it_starts_after_all_was_killed() {
    let data_dir = TestDataDir::new();
    let process = Process::start("server", &data_dir.path());
    let command = PrivatePostgres::attach_or_start(&data_dir.settings()).await.unwrap();
    leave_a_row(&command).await;
    let all = family(data_dir.postmaster());
    process.kill();
    for pid in &all {
        let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
    }
    drop(command);
    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    assert!(row_is_there(&postgres).await);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_postmaster_that_is_killed_is_started_again() {
    let data_dir = TestDataDir::new();
    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    leave_a_row(&postgres).await;
    let first = data_dir.postmaster();
    // A server process that is busy outlives its postmaster, and holds the shared memory.
    let mut connection = PgConnection::connect_with(&postgres.connect_options()).await.unwrap();
    let busy = tokio::spawn(async move {
        sqlx::query("DO $$ BEGIN FOR i IN 1..30000000 LOOP END LOOP; END $$").execute(&mut connection).await
    });
    let count = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'DO $$%' AND state = 'active'";
    until("it is busy", async || query(&postgres, count).await.unwrap() == "1").await;
    kill_9(first);
    until_it_works(&postgres).await;
    assert_ne!(data_dir.postmaster(), first);
    assert!(row_is_there(&postgres).await);
    let _ = busy.await;

    kill_9(data_dir.postmaster());
    until_it_works(&postgres).await;
    let all = family(data_dir.postmaster());
    postgres.stop().await.unwrap();
    assert_eq!(alive(&all), [] as [u32; 0], "outlived stop()");
}

#[tokio::test]
async fn a_watchdog_that_is_killed_is_replaced() {
    let data_dir = TestDataDir::new();
    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    let all = family(data_dir.postmaster());
    kill_9(all[0]);
    until_ended(&all).await;
    until_it_works(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn it_is_tried_again_until_it_starts_or_is_stopped() {
    let data_dir = TestDataDir::new();
    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    let configuration = data_dir.cluster().join("postgresql.conf");
    let sound = fs::read(&configuration).unwrap();
    data_dir.configure("nonsense = 1");
    kill_9(data_dir.postmaster());
    data_dir.until_log_says("nonsense").await;
    fs::write(&configuration, sound).unwrap();
    until_it_works(&postgres).await;

    data_dir.configure("gibberish = 1");
    kill_9(data_dir.postmaster());
    data_dir.until_log_says("gibberish").await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_initdb_leaves_no_cluster() {
    let data_dir = TestDataDir::new();
    let unfinished = data_dir.path().join("postgres/unfinished");
    let initdb_is_at_work =
        async || until("initdb is at work", async || unfinished.join("PG_VERSION").exists()).await;

    let process = Process::spawn("server", &data_dir.path());
    initdb_is_at_work().await;
    // All at once, so that no process can clean up.
    let left = descendants(process.pid());
    for pid in &left {
        let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
    }
    process.kill();
    until_ended(&left).await;
    assert!(!data_dir.cluster().exists());

    // Once more, but only the server. What is left of the first goes before initdb begins anew.
    std::fs::write(unfinished.join("left"), "").unwrap();
    let process = Process::spawn("server", &data_dir.path());
    until("the rest is deleted", async || !unfinished.join("left").exists()).await;
    initdb_is_at_work().await;
    let left = descendants(process.pid());
    process.kill();
    until_ended(&left).await;

    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    assert!(!unfinished.exists());
    postgres.stop().await.unwrap();
}

/// With all its processes at once, so that none can clean up.
#[rstest]
#[case::initdb_is_at_work("postgres/unfinished/PG_VERSION")]
#[case::the_cluster_is_complete("postgres/data/PG_VERSION")]
#[case::postgres_starts("postgres/data/postmaster.pid")]
#[case::postgres_listens("postgres/.s.PGSQL.5432")]
#[tokio::test]
async fn after_a_first_start_that_was_killed_the_next_one_works(#[case] moment: &str) {
    let data_dir = TestDataDir::new();
    let process = Process::spawn("server", &data_dir.path());
    until("it is so far", async || data_dir.path().join(moment).exists()).await;
    let left = descendants(process.pid());
    for pid in &left {
        let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
    }
    process.kill();
    until_ended(&left).await;
    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    leave_a_row(&postgres).await;
    postgres.stop().await.unwrap();
}

/// A postmaster creates a lock file empty and then writes it: a kill may come in between.
#[rstest]
#[case::of_the_cluster("postgres/data/postmaster.pid")]
#[case::of_the_socket("postgres/.s.PGSQL.5432.lock")]
#[tokio::test]
async fn it_starts_with_an_empty_lock_file(#[case] lock_file: &str) {
    let data_dir = TestDataDir::new();
    PrivatePostgres::start(&data_dir.settings()).await.unwrap().stop().await.unwrap();
    fs::write(data_dir.path().join(lock_file), "").unwrap();
    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    leave_a_row(&postgres).await;
    postgres.stop().await.unwrap();
}

// Owners and rights of the files

/// The group rights are those that Kubernetes gives with `fsGroup`, and a copy by root belongs to root.
#[tokio::test]
async fn a_directory_with_other_rights_is_used_again() {
    let data_dir = TestDataDir::new();
    let postgres = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    leave_a_row(&postgres).await;
    postgres.stop().await.unwrap();
    let copied = TestDataDir::new();
    let copy = Command::new("cp").arg("-r").args([data_dir.path(), copied.path()]).status().unwrap();
    let rights = Command::new("chmod").args(["-R", "g+rwXs"]).arg(copied.path()).status().unwrap();
    assert!(copy.success() && rights.success());

    let postgres = PrivatePostgres::start(&copied.settings()).await.unwrap();
    assert!(row_is_there(&postgres).await);
    postgres.stop().await.unwrap();
    for directory in ["postgres", "postgres/data"] {
        assert_eq!(fs::metadata(copied.path().join(directory)).unwrap().mode() & 0o7777, 0o700);
    }
}

/// Whose directory it is, for a process of this user.
fn data_dir_of(uid: u32) -> TestDataDir {
    let data_dir = TestDataDir::new();
    chown(data_dir.0.path(), Some(uid), Some(uid)).unwrap();
    data_dir
}

const NOBODY: u32 = 65534;

#[test]
fn a_file_of_another_user_is_named() {
    if !geteuid().is_root() {
        return;
    }
    let data_dir = data_dir_of(NOBODY);
    let mut process = Process::spawn_as(NOBODY, "server", &data_dir.path());
    process.line("ready ");
    process.stop();
    for file in ["postgres/data/base", "postgres", "lock"] {
        let file = data_dir.path().join(file);
        chown(&file, Some(0), Some(0)).unwrap();
        let said = Process::spawn_as(NOBODY, "server", &data_dir.path()).line("error: ");
        chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
        assert!(said.contains(&format!("{} belongs to the user with the id 0", file.display())), "{said}");
        assert!(said.contains(&format!("`chown -R {NOBODY} {}`", data_dir.path().display())), "{said}");
    }
}

#[test]
fn a_user_without_an_entry_in_passwd_is_told_what_to_do() {
    const UNKNOWN: u32 = 54_321;
    if !geteuid().is_root() {
        return;
    }
    let data_dir = data_dir_of(UNKNOWN);
    let said = Process::spawn_as(UNKNOWN, "server", &data_dir.path()).line("error: ");
    assert!(said.contains("id 54321 has no entry in /etc/passwd"), "{said}");

    // A cluster that exists needs none.
    let nobody = data_dir_of(NOBODY);
    let mut process = Process::spawn_as(NOBODY, "server", &nobody.path());
    process.line("ready ");
    process.stop();
    let owner = format!("{UNKNOWN}:{UNKNOWN}");
    assert!(Command::new("chown").args(["-R", &owner]).arg(nobody.0.path()).status().unwrap().success());
    let mut process = Process::spawn_as(UNKNOWN, "server", &nobody.path());
    process.line("ready ");
    process.stop();
}

// One owner

#[tokio::test]
async fn a_second_server_is_an_error_that_names_the_owner() {
    let data_dir = TestDataDir::new();
    let process = Process::start("server", &data_dir.path());
    let error = PrivatePostgres::start(&data_dir.settings()).await.err().unwrap();
    assert!(matches!(error, Error::AlreadyRunning { .. }), "{error}");
    let text = error.to_string();
    let expected = format!(
        "a server (process {}) already uses the data directory {}",
        process.pid(),
        data_dir.path().display()
    );
    assert!(text.contains(&expected), "{text}");
    process.stop();
}

#[tokio::test]
async fn of_servers_started_at_the_same_time_one_runs() {
    let data_dir = TestDataDir::new();
    let settings = data_dir.settings();
    let (first, second) = tokio::join!(PrivatePostgres::start(&settings), PrivatePostgres::start(&settings));
    let (one, none) = if first.is_ok() { (first, second) } else { (second, first) };
    assert!(matches!(none.err().unwrap(), Error::AlreadyRunning { .. }));
    one.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_server_follows_one_that_stops() {
    let data_dir = TestDataDir::new();
    let settings = data_dir.settings();
    let first = PrivatePostgres::start(&settings).await.unwrap();
    leave_a_row(&first).await;
    let (stopped, second) = tokio::join!(first.stop(), PrivatePostgres::start(&settings));
    stopped.unwrap();
    let second = second.unwrap();
    assert!(row_is_there(&second).await);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_command_joins_a_server_and_leaves_it_running() {
    let data_dir = TestDataDir::new();
    let process = Process::start("server", &data_dir.path());
    let postmaster = data_dir.postmaster();
    let command = PrivatePostgres::attach_or_start(&data_dir.settings()).await.unwrap();
    leave_a_row(&command).await;
    command.stop().await.unwrap();
    assert_eq!(data_dir.postmaster(), postmaster);
    process.stop();
}

#[tokio::test]
async fn a_command_without_a_server_runs_the_cluster_and_stops_it() {
    let data_dir = TestDataDir::new();
    let command = PrivatePostgres::attach_or_start(&data_dir.settings()).await.unwrap();
    assert!(works(&command).await);
    let all = family(data_dir.postmaster());
    command.stop().await.unwrap();
    assert_eq!(alive(&all), [] as [u32; 0], "outlived stop()");
}

#[tokio::test]
async fn a_command_waits_for_a_server_that_starts() {
    let data_dir = TestDataDir::new();
    let mut process = Process::spawn("server", &data_dir.path());
    data_dir.until_owner_is("server").await;
    let command = PrivatePostgres::attach_or_start(&data_dir.settings()).await.unwrap();
    assert!(works(&command).await);
    command.stop().await.unwrap();
    process.line("ready ");
    process.stop();
}

#[tokio::test]
async fn a_command_that_comes_while_a_server_stops_gets_its_turn() {
    let data_dir = TestDataDir::new();
    let settings = data_dir.settings();
    let server = PrivatePostgres::start(&settings).await.unwrap();
    let (stopped, command) = tokio::join!(server.stop(), PrivatePostgres::attach_or_start(&settings));
    stopped.unwrap();
    let command = command.unwrap();
    assert!(works(&command).await);
    command.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_stops_waits_for_a_command() {
    let data_dir = TestDataDir::new();
    let server = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    let command = PrivatePostgres::attach_or_start(&data_dir.settings()).await.unwrap();
    let stop = tokio::spawn(server.stop());
    data_dir.until_owner_is("stopping").await;
    assert!(works(&command).await);
    assert!(!stop.is_finished());
    command.stop().await.unwrap();
    stop.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_ever() {
    let data_dir = TestDataDir::new();
    let server = PrivatePostgres::start(&data_dir.settings()).await.unwrap();
    let command = PrivatePostgres::attach_or_start(&data_dir.settings()).await.unwrap();
    server.stop().await.unwrap();
    assert!(!works(&command).await);
}

#[tokio::test]
async fn a_command_does_not_take_the_cluster_away_from_another() {
    let data_dir = TestDataDir::new();
    let mut first = Process::start("command", &data_dir.path());
    let second = PrivatePostgres::attach_or_start(&data_dir.settings()).await.unwrap();
    first.release();
    data_dir.until_owner_is("stopping").await;
    assert!(works(&second).await);
    // A third comes too late for this cluster, and gets the next.
    let settings = data_dir.settings();
    let third = tokio::spawn(async move { PrivatePostgres::attach_or_start(&settings).await });
    assert!(works(&second).await);
    second.stop().await.unwrap();
    first.line("stopped");
    let third = third.await.unwrap().unwrap();
    assert!(works(&third).await);
    third.stop().await.unwrap();
}

#[test]
fn many_commands_at_the_same_time_all_work() {
    let data_dir = TestDataDir::new();
    let commands: Vec<_> = (0..5).map(|_| Process::spawn("command", &data_dir.path())).collect();
    let threads: Vec<_> = commands
        .into_iter()
        .map(|mut command| {
            std::thread::spawn(move || {
                command.line("ready ");
                command.stop();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[tokio::test]
async fn a_server_waits_for_a_command_that_is_at_work() {
    let data_dir = TestDataDir::new();
    let command = Process::start("command", &data_dir.path());
    let settings = data_dir.settings();
    let server = tokio::spawn(async move { PrivatePostgres::start(&settings).await });
    let other = PrivatePostgres::attach_or_start(&data_dir.settings()).await.unwrap();
    other.stop().await.unwrap();
    assert!(!server.is_finished());
    command.stop();
    server.await.unwrap().unwrap().stop().await.unwrap();
}

// Errors

#[tokio::test]
async fn a_directory_with_other_files_is_an_error_and_not_changed() {
    let data_dir = TestDataDir::new();
    fs::create_dir(data_dir.path()).unwrap();
    fs::write(data_dir.path().join("thesis.txt"), "years of work").unwrap();
    let error = PrivatePostgres::start(&data_dir.settings()).await.err().unwrap();
    assert!(matches!(error, Error::NotOurs(_)), "{error}");
    let left: Vec<_> =
        fs::read_dir(data_dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["thesis.txt"]);
}

#[tokio::test]
async fn a_cluster_of_another_version_or_none_is_an_error_and_not_changed() {
    let data_dir = TestDataDir::new();
    PrivatePostgres::start(&data_dir.settings()).await.unwrap().stop().await.unwrap();
    fs::write(data_dir.cluster().join("PG_VERSION"), "8\n").unwrap();
    let text = PrivatePostgres::start(&data_dir.settings()).await.err().unwrap().to_string();
    assert!(text.contains("is of Postgres 8, but only version"), "{text}");

    fs::remove_file(data_dir.cluster().join("PG_VERSION")).unwrap();
    let error = PrivatePostgres::start(&data_dir.settings()).await.err().unwrap();
    assert!(matches!(error, Error::NotOurs(_)), "{error}");
    assert!(data_dir.cluster().join("base").exists());
}

#[tokio::test]
async fn a_start_that_fails_shows_the_end_of_the_log_in_one_line() {
    let data_dir = TestDataDir::new();
    PrivatePostgres::start(&data_dir.settings()).await.unwrap().stop().await.unwrap();
    data_dir.configure("nonsense = 1");
    let text = PrivatePostgres::start(&data_dir.settings()).await.err().unwrap().to_string();
    assert!(
        text.contains("unrecognized configuration parameter \"nonsense\"") && !text.contains('\n'),
        "{text}"
    );
}

#[tokio::test]
async fn a_directory_that_the_user_of_postgres_cannot_reach_is_named() {
    if !geteuid().is_root() {
        return;
    }
    let data_dir = TestDataDir::new();
    fs::set_permissions(&data_dir.0, Permissions::from_mode(0o700)).unwrap();
    let text = PrivatePostgres::start(&data_dir.settings()).await.err().unwrap().to_string();
    assert!(text.contains(&format!("run `chmod o+x {}`", data_dir.0.path().display())), "{text}");
}

// Throw-away clusters

#[tokio::test]
async fn a_throw_away_cluster_is_not_durable_and_leaves_nothing() {
    let postgres = PrivatePostgres::start_throw_away().await.unwrap();
    for name in ["fsync", "synchronous_commit", "full_page_writes"] {
        assert_eq!(setting(&postgres, name).await, "off", "{name}");
    }
    assert_eq!(setting(&postgres, "max_connections").await, "300");
    let directory = postgres.data_dir().to_owned();
    let all = family(postmaster(&directory.join("postgres/data")));
    postgres.stop().await.unwrap();
    assert!(!directory.exists());
    until_ended(&all).await;
}

#[test]
fn a_throw_away_cluster_outlives_the_runtime_that_started_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let postgres = runtime().block_on(PrivatePostgres::start_throw_away()).unwrap();
    assert!(runtime().block_on(works(&postgres)));
    let directory = postgres.data_dir().to_owned();
    runtime().block_on(postgres.stop()).unwrap();
    assert!(!directory.exists());
}

#[tokio::test]
async fn throw_away_clusters_end_with_their_processes() {
    let mut processes: Vec<_> = (0..3).map(|_| Process::spawn("throw-away", Path::new(""))).collect();
    let directories: Vec<PathBuf> =
        processes.iter_mut().map(|process| process.line("ready ").into()).collect();
    let all: Vec<_> = processes.iter().flat_map(|process| descendants(process.pid())).collect();
    let last = processes.pop().unwrap();
    for process in processes {
        process.kill();
    }
    last.stop();
    until_ended(&all).await;
    for directory in directories {
        assert!(!directory.exists(), "{}", directory.display());
    }
}

#[tokio::test]
async fn a_throw_away_cluster_ends_while_it_is_being_created() {
    let process = Process::spawn("throw-away", Path::new(""));
    let mut left = Vec::new();
    until("initdb is at work", async || {
        left = descendants(process.pid());
        left.len() >= 5
    })
    .await;
    let output = Command::new("ps").args(["-o", "args=", "-p", &left[0].to_string()]).output().unwrap();
    let arguments = String::from_utf8(output.stdout).unwrap();
    let home = arguments.split_whitespace().find(|word| word.ends_with("/postgres")).unwrap();
    let directory = Path::new(home).parent().unwrap();
    assert!(directory.exists());
    process.kill();
    until_ended(&left).await;
    assert!(!directory.exists(), "{}", directory.display());
}
