//! What a database error means for the statement or the connection, by SQLSTATE.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Deserializer};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// SQLSTATE of a lock timeout.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Whether a retry may succeed: the database is unavailable, full, stopping or read-only, or the statement lost a race or timed
/// out.
pub fn is_transient(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    match error {
        Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed => true,
        Database(error) => error.code().is_some_and(|code| is_transient_code(&code)),
        _ => false,
    }
}

/// The same of an error that one of our functions has caught and returned as a text: the SQLSTATE comes first.
pub(super) fn is_transient_code(code: &str) -> bool {
    // Connection exceptions, insufficient resources, operator intervention, transaction rollback; a read-only server, as during a
    // fail-over.
    ["08", "53", "57", "40", "25006", LOCK_NOT_AVAILABLE].iter().any(|class| code.starts_with(class))
}

/// Whether the database cannot be used now: transient errors, and errors of connecting that need an operator, such as a changed
/// password, a dropped database or a revoked right. With a fatal error Postgres closes the connection, or does not open it.
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    let error_of_postgres =
        error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    is_transient(error)
        || error_of_postgres
            .is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

/// Whether a statement about many rows failed because of one of them: a lock that another transaction holds, a constraint, a
/// value. Without that row it may succeed.
pub(crate) fn is_about_one_row(error: &sqlx::Error) -> bool {
    is_invalid_value(error) || code_is_one_of(error, &["40P01", LOCK_NOT_AVAILABLE])
}

/// Whether the database rejected a value: a data exception or a violated constraint.
pub(crate) fn is_invalid_value(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    code_is_one_of(error, &[LOCK_NOT_AVAILABLE])
}

/// Whether the database ended the statement, for its timeout or on request.
pub(super) fn is_statement_timeout(error: &sqlx::Error) -> bool {
    code_is_one_of(error, &["57014"])
}

/// Whether the transaction was certainly rolled back: a deadlock, a serialisation failure, a lock timeout. Unlike
/// [`is_transient`] this excludes a connection lost at commit, whose outcome is unknown.
pub(super) fn was_rolled_back(error: &sqlx::Error) -> bool {
    code_is_one_of(error, &["40001", "40P01", LOCK_NOT_AVAILABLE])
}

fn code_is_one_of(error: &sqlx::Error, codes: &[&str]) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| codes.contains(&&*code))
}

/// Whether the error is of this constraint. A worker's error has no field for the constraint: the coordinator passes on its code
/// and its texts alone.
pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    error.as_database_error().is_some_and(|error| match error.constraint() {
        Some(name) => name == constraint,
        None => {
            error.code().is_some_and(|code| is_violation(&code))
                && without_shard_numbers(error.message())
                    .split(|character: char| !character.is_alphanumeric() && character != '_')
                    .any(|word| word == constraint)
        }
    })
}

/// What the database says, for an operator. Empty if the error is not the database's.
pub(crate) fn message(error: &sqlx::Error) -> String {
    let Some(error) = error.as_database_error() else { return String::new() };
    match error.code() {
        Some(code) if is_violation(&code) => without_shard_numbers(error.message()).into_owned(),
        _ => error.message().to_owned(),
    }
}

/// A text of SQLSTATE and message, as our functions make it of an error that they catch.
pub(super) fn deserialize_caught<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(if is_violation(&text) { without_shard_numbers(&text).into_owned() } else { text })
}

/// Whether the SQLSTATE is that of a violated constraint. The message of such an error has names only; the values are in its
/// detail.
fn is_violation(code: &str) -> bool {
    code.starts_with("23")
}

/// A shard of `customer` is `customer_102034`, and its constraints have the number too. The numbers begin at 102008.
static SHARD_NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant pattern that a test compiles")]
    Regex::new(r"_[0-9]{6,}\b").expect("the pattern is valid")
});

fn without_shard_numbers(message: &str) -> Cow<'_, str> {
    SHARD_NUMBER.replace_all(message, "")
}

#[cfg(test)]
mod tests {
    use std::error::Error as StdError;
    use std::fmt;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// As a shard's error arrives: no constraint and no table.
    #[derive(Debug)]
    struct ErrorOfWorker(&'static str, &'static str);

    impl fmt::Display for ErrorOfWorker {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.1)
        }
    }

    impl StdError for ErrorOfWorker {}

    impl DatabaseError for ErrorOfWorker {
        fn message(&self) -> &str {
            self.1
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }

        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }
    }

    fn error(code: &'static str, message: &'static str) -> sqlx::Error {
        sqlx::Error::Database(Box::new(ErrorOfWorker(code, message)))
    }

    #[test]
    fn a_constraint_of_a_shard_is_recognised_by_its_name() {
        let violates = |code, message, constraint| violates(&error(code, message), constraint);
        let taken = "duplicate key value violates unique constraint \"customer_email_key_102034\"";
        assert!(violates("23505", taken, "customer_email_key"));
        for other in ["email_key", "customer_email", "customer_email_key_2", "customer_email_key_102034"] {
            assert!(!violates("23505", taken, other), "{other}");
        }
        // With quotation marks of another language, and of a table that is whole on each node.
        assert!(violates(
            "23505",
            "doppelter Schlüsselwert verletzt »customer_email_key_102034«",
            "customer_email_key"
        ));
        assert!(violates("23514", "violates check constraint \"no_poison\"", "no_poison"));
        assert!(!violates("40001", taken, "customer_email_key"));
        assert!(!super::violates(&sqlx::Error::RowNotFound, "customer_email_key"));
    }

    #[test]
    fn an_operator_reads_the_names_of_tables() {
        let rejected =
            "new row for relation \"customer_102010\" violates check constraint \"no_poison_102010\"";
        let plain = "new row for relation \"customer\" violates check constraint \"no_poison\"";
        assert_eq!(message(&error("23514", rejected)), plain);
        // A value, not a name.
        let invalid = "invalid input syntax for type inet: \"a_102010\"";
        assert_eq!(message(&error("22P02", invalid)), invalid);

        let caught = |text: String| deserialize_caught(serde_json::Value::String(text)).unwrap();
        assert_eq!(caught(format!("23514 {rejected}")), format!("23514 {plain}"));
        assert_eq!(caught(format!("22P02 {invalid}")), format!("22P02 {invalid}"));
    }
}
