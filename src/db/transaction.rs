//! Transactions of operators' commands: on a connection taken out of the pool, so that a cancelled one closes its connection
//! and none returns to the pool inside a transaction (transact-rs/sqlx#4393).

use sqlx::{PgConnection, PgPool};

pub(crate) async fn dedicated(pool: &PgPool) -> sqlx::Result<PgConnection> {
    Ok(pool.acquire().await?.detach())
}

/// For the rest of the transaction: a customer may have a hundred thousand relations, and inserting a thousand customers may
/// trigger the clean-up of an index.
pub(crate) async fn allow_long_statements(transaction: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("set local statement_timeout = '10min'").execute(transaction).await?;
    Ok(())
}
