//! What a database error means for the statement or the connection, by SQLSTATE.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// SQLSTATE of a lock timeout.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Whether a retry may succeed: the database is unavailable, full, stopping or read-only, or the statement lost a race or timed
/// out.
pub fn is_transient(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    match error {
        Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed => true,
        Database(error) => error.code().is_some_and(|code| {
            // Connection exceptions, insufficient resources, operator intervention, transaction rollback; a read-only
            // server, as during a fail-over.
            ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class))
                || code == "25006"
                || code == LOCK_NOT_AVAILABLE
        }),
        _ => false,
    }
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

pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    error.as_database_error().is_some_and(|error| error.constraint() == Some(constraint))
}
