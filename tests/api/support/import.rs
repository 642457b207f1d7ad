//! Files for the importing subcommands, and what those say.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::NamedTempFile;

use super::TestDatabase;
use super::binary::on;

/// What an import came to.
#[derive(Debug)]
pub struct Import {
    pub code: i32,
    /// The text as it is when it is no JSON.
    pub summary: Value,
    /// What stderr says, the last line included.
    pub said: Vec<String>,
}

impl Import {
    fn of(mut command: Command) -> Self {
        Self::from(quiet(&mut command).output().unwrap())
    }

    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            summary: serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|_| String::from_utf8(output.stdout).unwrap().into()),
            said: String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect(),
        }
    }

    /// The counts by name, in the order of the names.
    pub fn counts<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        names.map(|name| self.summary[name].as_u64().unwrap_or_else(|| panic!("{name}: {self:?}")))
    }
}

/// What it says is about the file, and not that a busy machine was slow.
fn quiet(command: &mut Command) -> &mut Command {
    command.env("CUSTOMER_MATCH_LOG_LEVEL", "error")
}

/// A file with this content, which goes with the value.
pub fn file_of(content: impl AsRef<[u8]>) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_ref()).unwrap();
    file
}

/// Imports a file with this content into organisation 1.
#[track_caller]
pub fn import(database: &TestDatabase, what: &str, csv: impl AsRef<[u8]>, more: &[&str]) -> Import {
    let file = file_of(csv);
    let arguments = [what, "import", file.path().to_str().unwrap(), "--organisation", "1"];
    let json = ["--format", "json"];
    let format = if more.contains(&"--format") { &[][..] } else { &json[..] };
    Import::of(on(database, &[&arguments[..], format, more].concat()))
}

/// The same from the standard input.
#[track_caller]
pub fn import_stdin(database: &TestDatabase, what: &str, csv: &str) -> Import {
    let mut command = on(database, &[what, "import", "-", "--organisation", "1", "--format", "json"]);
    let mut child = quiet(&mut command).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(csv.as_bytes()).unwrap();
    Import::from(child.wait_with_output().unwrap())
}
