//! Transactions of operators' commands: on a connection taken out of the pool, so that a cancelled one closes its connection
//! and none returns to the pool inside a transaction (transact-rs/sqlx#4393).

use std::fmt::Display;

use sqlx::{Connection, PgConnection, PgPool};

use super::retry::retry;

#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Commit,
    /// For a preview.
    Rollback,
}

pub(crate) async fn dedicated(pool: &PgPool) -> sqlx::Result<PgConnection> {
    Ok(pool.acquire().await?.detach())
}

/// For the rest of the transaction: a customer may have a hundred thousand relations, and inserting a thousand customers may
/// trigger the clean-up of an index.
pub(crate) async fn allow_long_statements(transaction: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("set local statement_timeout = '10min'").execute(transaction).await?;
    Ok(())
}

/// Runs `work` in a transaction, which is rolled back after an error.
pub(super) async fn run<T, E: From<sqlx::Error> + Display>(
    pool: &PgPool,
    end: End,
    is_retryable: impl Fn(&E) -> bool,
    work: impl AsyncFn(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E> {
    let attempt = async || {
        let mut connection = dedicated(pool).await?;
        let mut transaction = connection.begin().await?;
        allow_long_statements(&mut transaction).await?;
        let result = work(&mut transaction).await;
        match (&result, end) {
            (Ok(_), End::Commit) => transaction.commit().await?,
            _ => transaction.rollback().await?,
        }
        connection.close().await?;
        result
    };
    retry(attempt, is_retryable).await
}
