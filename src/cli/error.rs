//! An error as the operator reads it: one line that says each thing once, and the exit status.

use std::error::Error;
use std::fmt::Display;
use std::io::{Write, stderr};
use std::process::ExitCode;

use anyhow::anyhow;
use tokio::time::error::Elapsed;

use super::signals::{EXIT_INTERRUPTED, Interrupted};
use crate::config::ConfigError;
use crate::import::ImportError;

/// A usage error that clap cannot detect, such as a file that does not exist. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{}", one_line(.0))]
pub(super) struct UsageError(pub(super) anyhow::Error);

/// A usage error that needs no cause.
pub(super) fn usage_error(message: &'static str) -> anyhow::Error {
    UsageError(anyhow!(message)).into()
}

pub(super) fn no_organisation(organisation: impl Display) -> anyhow::Error {
    anyhow!(
        "there is no organisation {organisation}: `customer-match organisation list` shows which there are"
    )
}

pub(super) fn no_key(id: i64) -> anyhow::Error {
    anyhow!("there is no key {id}: `customer-match key list` shows those of an organisation")
}

/// Prints the error to stderr. The status is 130 after Ctrl-C, 2 for a usage error, as clap's, else 1.
pub fn report(error: &anyhow::Error) -> ExitCode {
    // Not `eprintln!`, which panics if stderr is closed.
    let _ = writeln!(stderr(), "error: {}", one_line(error));
    let interrupted = |cause: &(dyn Error + 'static)| {
        cause.is::<Interrupted>() || matches!(cause.downcast_ref(), Some(ImportError::Interrupted))
    };
    if error.chain().any(interrupted) {
        return ExitCode::from(EXIT_INTERRUPTED);
    }
    let usage = error.is::<UsageError>() || error.is::<ConfigError>();
    if usage { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// The messages of the error and its causes. Many types print their source and return it too, so a message is left out that the
/// line ends with already.
pub(super) fn one_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).filter(|cause| !is_said_by_context(*cause)) {
        let message = cause.to_string();
        if !line.ends_with(&message) {
            line = format!("{line}: {message}");
        }
    }
    line
}

/// Whether the context around the error says the same better: that the database failed, or that the time is over.
fn is_said_by_context(error: &(dyn Error + 'static)) -> bool {
    let wraps = |error: &sqlx::Error| matches!(error, sqlx::Error::Io(_) | sqlx::Error::Database(_));
    error.is::<Elapsed>() || error.downcast_ref().is_some_and(wraps)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use anyhow::Context;
    use rstest::rstest;
    use sqlx::migrate::MigrateError;

    use super::*;

    fn permission_denied() -> sqlx::Error {
        sqlx::Error::Io(io::Error::from_raw_os_error(13))
    }

    #[rstest]
    #[case(
        anyhow::Error::new(permission_denied()).context("the database cannot be reached"),
        "the database cannot be reached: Permission denied (os error 13)"
    )]
    #[case(permission_denied().into(), "error communicating with database: Permission denied (os error 13)")]
    #[case(
        private_postgres::Error::Database(permission_denied()).into(),
        "the private Postgres cannot be used: error communicating with database: Permission denied (os error 13)"
    )]
    #[case(
        anyhow::Error::new(MigrateError::ExecuteMigration(permission_denied(), 7)).context("not migrated"),
        "not migrated: while executing migration 7: error communicating with database: Permission denied (os error 13)"
    )]
    #[case(anyhow::anyhow!("not found").context("file.csv").context("no import"), "no import: file.csv: not found")]
    #[case(UsageError(anyhow::anyhow!("not found").context("file.csv")).into(), "file.csv: not found")]
    fn says_each_thing_once(#[case] error: anyhow::Error, #[case] expected: &str) {
        assert_eq!(one_line(&error), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn says_of_a_timeout_what_its_context_says() {
        let late = tokio::time::timeout(Duration::ZERO, std::future::pending::<()>()).await;
        assert_eq!(one_line(&late.context("no response within 3 s").unwrap_err()), "no response within 3 s");
    }
}
