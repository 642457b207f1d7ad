//! Tells the compiler the commit of the sources, and cargo what `sqlx::migrate!` alone does not notice: a changed or added `.sql` file.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-env-changed=SOURCE_COMMIT");
    let given = std::env::var("SOURCE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(checked_out_commit).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=SOURCE_COMMIT={commit}");
}

fn checked_out_commit() -> Option<String> {
    // Not that of a repository around these sources.
    if !Path::new(".git").exists() {
        return None;
    }
    // Each commit and checkout appends a line. A path that does not exist would make every build run this.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = output.status.success().then_some(output.stdout)?;
    Some(String::from_utf8(text).ok()?.trim().to_owned())
}
