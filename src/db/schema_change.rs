//! The connection of a process that changes the schema; one at a time does.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use super::connect::{self, Plans, Session};

/// The advisory lock of that process; the number is arbitrary.
pub(super) const LOCK: i64 = 0x6375_7374_6f6d_6572;
/// How often other processes poll for the lock.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Statements have no timeout, as building an index may take long.
pub(super) const SESSION: Session = Session {
    application_name: "customer-match migrate",
    statement_timeout: Duration::ZERO,
    lock_timeout: Duration::ZERO,
    plans: Plans::Auto,
};

pub(super) async fn connect(options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    let mut connection = connect::connect(options, SESSION).await?;
    // Otherwise the statement of an interrupted run that waits for a lock would go on, and hold the lock. Not every platform of
    // Postgres has it.
    let _ = sqlx::query("set client_connection_check_interval = '1s'").execute(&mut connection).await;
    // Citus would make every table with a key to a reference table one of its own, which it cannot with an identity column
    // (`api_key`). Where there is no Citus, the setting has no meaning.
    sqlx::query("set citus.enable_local_reference_table_foreign_keys = off").execute(&mut connection).await?;
    Ok(connection)
}

/// Waits without a statement, as building an index waits for all that run. Closing the connection releases the lock.
pub(super) async fn lock(connection: &mut PgConnection) -> sqlx::Result<()> {
    while !sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(LOCK)
        .fetch_one(&mut *connection)
        .await?
    {
        tokio::time::sleep(LOCK_POLL).await;
    }
    Ok(())
}
