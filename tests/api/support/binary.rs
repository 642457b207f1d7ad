//! The real binary, with nothing in its environment but `PATH` and, when coverage is measured, where to write that.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::TestDatabase;

/// A subcommand, not yet run.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_customer-match"));
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "LLVM_PROFILE_FILE"));
    command
}

/// A subcommand on this database, not yet run.
pub fn on(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    // The cluster of the tests is as fast as it may be.
    command.env("DATABASE_URL", database.url()).env("CUSTOMER_MATCH_ALLOW_DATA_LOSS", "true");
    command
}

/// Runs a subcommand that succeeds and returns what it printed.
#[track_caller]
pub fn run(command: Command) -> String {
    run_both(command).0
}

/// Runs a subcommand that succeeds and returns what it printed to stdout and to stderr.
#[track_caller]
pub fn run_both(mut command: Command) -> (String, String) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Runs a subcommand that succeeds and prints JSON.
#[track_caller]
pub fn run_json(command: Command) -> Value {
    serde_json::from_str(&run(command)).unwrap()
}

/// Runs a subcommand that fails and returns what it said.
#[track_caller]
pub fn run_refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

/// A server that was started and has said where it listens.
pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Such as `http://127.0.0.1:40123`.
    pub url: String,
}

impl Server {
    /// `serve` on a free port with a private Postgres in this folder.
    pub fn start_on(data_dir: &Path) -> Self {
        Self::start(command(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()]))
    }

    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        Self::adopt(command.spawn().unwrap())
    }

    /// A server that is about to say where it listens.
    #[track_caller]
    pub fn adopt(mut child: Child) -> Self {
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Some((_, url)) = line.trim_end().split_once(" listens on ") else {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            panic!("the server did not start: {error}");
        };
        let url = url.to_owned();
        // A pipe that nobody reads fills up.
        if let Some(mut stderr) = child.stderr.take() {
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        }
        Self { child, stdout, url }
    }

    /// The call to paste, as the server printed it.
    pub fn printed_curl(&mut self) -> String {
        let mut text = String::new();
        while !text.ends_with("'\n") {
            assert_ne!(self.stdout.read_line(&mut text).unwrap(), 0, "no curl in {text}");
        }
        text.split_off(text.find("curl").unwrap())
    }

    /// Where the admin listener is, such as `127.0.0.1:40123`.
    pub fn admin_address(&mut self) -> String {
        let line = self.next_line();
        let (_, url) = line.split_once("probes and metrics are on http://").unwrap();
        url.split_once(": ").unwrap().0.into()
    }

    /// The next line that the server prints.
    pub fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Posts JSON and returns status and body.
    pub async fn post(&self, path_and_query: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path_and_query}", self.url);
        let response = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).unwrap();
    }

    pub fn process(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap()).unwrap()
    }

    /// Stops the server and returns what it has printed since its first line.
    pub fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        assert!(self.wait().success());
        let mut printed = String::new();
        self.stdout.read_to_string(&mut printed).unwrap();
        printed
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
