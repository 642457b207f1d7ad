//! Postgres: how to connect, the migrations, and one file per table with the statements about it.
//!
//! Statements keep the rules that let the tables be distributed by `organisation_id`: every reference to a tenant's table
//! has `organisation_id = $n` with one scalar parameter, and nothing joins across organisations.

pub mod api_key;
pub mod api_key_share;
pub(crate) mod connect;
mod connections;
pub mod customer;
pub mod customer_delete;
pub mod customer_identity;
pub mod customer_import;
pub mod customer_match;
pub mod customer_merge;
pub mod dry_run;
pub mod matched_customer;
pub mod migration;
pub mod organisation;
pub mod retry;
pub mod write_batch;

pub use connections::{Failure, POOL_WAITS, pool, run};

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, PgPool};

/// A statement that waits for a row longer than this gives up and is tried again.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// Postgres' code for a lock that was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// For the writers' connections beside the pool, which are configured after connecting.
pub fn writer_options(pool: &PgPool) -> PgConnectOptions {
    PgConnectOptions::clone(&pool.connect_options())
}

/// For the connection that keeps keys up to date, beside the pool's.
pub fn keys_options(pool: &PgPool) -> PgConnectOptions {
    PgConnectOptions::clone(&pool.connect_options()).application_name("customer-match keys")
}

/// For the connection that hears of keys that have changed.
pub fn listener_options(pool: &PgPool) -> PgConnectOptions {
    PgConnectOptions::clone(&pool.connect_options()).application_name("customer-match listener")
}

/// A connection for transactions, taken out of the pool: whoever is cancelled closes it, and none goes back to the pool
/// inside a transaction (transact-rs/sqlx#4393).
pub(crate) async fn dedicated(pool: &PgPool) -> sqlx::Result<PgConnection> {
    Ok(pool.acquire().await?.detach())
}

/// For the rest of a transaction that an operator waits for: a customer may have a hundred thousand relations,
/// and a thousand new customers may be what makes an index tidy itself up.
pub(crate) async fn allow_long_statements(transaction: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("set local statement_timeout = '10min'").execute(transaction).await?;
    Ok(())
}

/// One round trip: the database answers.
pub async fn ping(pool: &PgPool) -> sqlx::Result<()> {
    run(pool, async |connection| {
        sqlx::query("select").execute(connection).await?;
        Ok(())
    })
    .await
}

/// Whether the same request may succeed a moment later: the database is away, full, stopping, read-only, or the
/// statement lost a race or ran out of time.
pub fn is_transient(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    match error {
        Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed => true,
        Database(error) => error.code().is_some_and(|code| {
            // Connection exceptions, insufficient resources, operator intervention, transaction rollback; a read-only
            // server (a fail-over is under way).
            ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class))
                || code == "25006"
                || code == LOCK_NOT_AVAILABLE
        }),
        _ => false,
    }
}

/// Whether a statement about many rows failed for one of them, which others need not share: a lock that another transaction
/// holds, a constraint, a value.
pub(crate) fn is_about_one_row(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| {
        code.starts_with("22") || code.starts_with("23") || matches!(&*code, "40P01" | LOCK_NOT_AVAILABLE)
    })
}

/// Whether the transaction met another and was certainly undone: a deadlock, a serialisation failure, a lock that was not
/// to be had in time. Unlike [`is_transient`] this leaves out a connection lost at commit, after which nobody knows.
fn was_rolled_back(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(&*code, "40001" | "40P01" | LOCK_NOT_AVAILABLE))
}

/// Whether the statement broke this constraint.
pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    error.as_database_error().is_some_and(|error| error.constraint() == Some(constraint))
}
