//! Keeps `PGOPTIONS` from the database.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, io};

const VARIABLE: &str = "PGOPTIONS";

/// Begins the process anew without the variable, if there is one.
///
/// The driver adds its value to the options of every connection, also to those of the private Postgres, where a setting that is meant
/// for another database is an error or changes what statements do. No option of the driver prevents it, and a process cannot remove a
/// variable of its own safely. The same options may be in the database URL, as `?options=`.
pub(super) fn discard() -> io::Result<()> {
    if env::var_os(VARIABLE).is_none() {
        return Ok(());
    }
    let mut arguments = env::args_os();
    let mut again = Command::new(env::current_exe()?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(again.args(arguments).env_remove(VARIABLE).exec())
}
