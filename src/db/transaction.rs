//! Transactions. Those of operators' commands run on a connection taken out of the pool, so that a cancelled one closes its
//! connection and none returns to the pool inside a transaction (transact-rs/sqlx#4393).

use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};

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

/// For the rest of the transaction.
pub(super) async fn set_statement_timeout(
    transaction: &mut PgConnection,
    timeout: Duration,
) -> sqlx::Result<()> {
    sqlx::query("select set_config('statement_timeout', $1, true)")
        .bind(timeout.as_millis().to_string())
        .execute(transaction)
        .await?;
    Ok(())
}
