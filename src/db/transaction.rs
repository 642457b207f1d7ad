//! Transactions. Those of operators' commands run on a connection taken out of the pool, so that a cancelled one closes its
//! connection and none returns to the pool inside a transaction (transact-rs/sqlx#4393).

use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};

use super::error::is_statement_timeout;
use super::layout::Layout;

/// Runs `work` in a transaction of its own, and commits if it succeeds and `commit` is set.
pub(super) async fn transact<T, E: From<sqlx::Error>>(
    pool: &PgPool,
    commit: bool,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E> {
    let mut connection = dedicated(pool).await?;
    let mut transaction = connection.begin().await?;
    allow_long_statements(&mut transaction).await?;
    let result = work(&mut transaction).await;
    if commit && result.is_ok() {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    connection.close().await?;
    result
}

pub(crate) async fn dedicated(pool: &PgPool) -> sqlx::Result<PgConnection> {
    Ok(pool.acquire().await?.detach())
}

/// For the rest of the transaction: a customer may have a hundred thousand relations, and inserting a thousand customers may
/// trigger the clean-up of an index.
pub(crate) async fn allow_long_statements(transaction: &mut PgConnection) -> sqlx::Result<()> {
    set_statement_timeout(transaction, Duration::from_secs(600)).await
}

/// Runs reads with a statement timeout of their own. `None`: one of them took longer.
pub(super) async fn within_statement_timeout<T>(
    db: &mut PgConnection,
    layout: Layout,
    timeout: Duration,
    read: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
) -> sqlx::Result<Option<T>> {
    match layout {
        Layout::Single => {
            let mut transaction = db.begin().await?;
            set_statement_timeout(&mut transaction, timeout).await?;
            let result = unless_timed_out(read(&mut transaction).await)?;
            transaction.rollback().await?;
            Ok(result)
        }
        // In a transaction the coordinator delegates no function. When its statement times out, it cancels that of the worker. A
        // connection whose read failed otherwise is not used again.
        Layout::Distributed => {
            let before = exchange_statement_timeout(db, &timeout.as_millis().to_string()).await?;
            let result = unless_timed_out(read(db).await)?;
            exchange_statement_timeout(db, &before).await?;
            Ok(result)
        }
    }
}

fn unless_timed_out<T>(result: sqlx::Result<T>) -> sqlx::Result<Option<T>> {
    match result {
        Err(error) if is_statement_timeout(&error) => Ok(None),
        result => result.map(Some),
    }
}

/// For the rest of the session; returns what it was.
async fn exchange_statement_timeout(db: &mut PgConnection, timeout: &str) -> sqlx::Result<String> {
    sqlx::query_scalar(
        "with before as materialized (select current_setting('statement_timeout') as timeout)
         select timeout from before, set_config('statement_timeout', $1, false)",
    )
    .bind(timeout)
    .fetch_one(db)
    .await
}

/// For the rest of the transaction.
async fn set_statement_timeout(transaction: &mut PgConnection, timeout: Duration) -> sqlx::Result<()> {
    sqlx::query("select set_config('statement_timeout', $1, true)")
        .bind(timeout.as_millis().to_string())
        .execute(transaction)
        .await?;
    Ok(())
}
