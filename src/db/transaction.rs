//! Transactions. Those of operators' commands run on a connection taken out of the pool, so that a cancelled one closes its
//! connection and none returns to the pool inside a transaction (transact-rs/sqlx#4393).

use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};

use super::error::is_statement_timeout;

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
    timeout: Duration,
    read: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
) -> sqlx::Result<Option<T>> {
    let mut transaction = db.begin().await?;
    set_statement_timeout(&mut transaction, timeout).await?;
    let result = match read(&mut transaction).await {
        Err(error) if is_statement_timeout(&error) => None,
        result => Some(result?),
    };
    transaction.rollback().await?;
    Ok(result)
}

/// For the rest of the transaction.
async fn set_statement_timeout(transaction: &mut PgConnection, timeout: Duration) -> sqlx::Result<()> {
    sqlx::query("select set_config('statement_timeout', $1, true)")
        .bind(timeout.as_millis().to_string())
        .execute(transaction)
        .await?;
    Ok(())
}
