//! The table `organisation`.

use sqlx::{PgConnection, PgExecutor};

/// Owns keys and customers.
#[derive(Debug)]
pub struct Organisation {
    pub id: i64,
    /// Unique.
    pub name: String,
}

/// `None` if an organisation of this name exists.
pub async fn create(db: impl PgExecutor<'_>, name: &str) -> sqlx::Result<Option<Organisation>> {
    sqlx::query_as!(
        Organisation,
        "insert into organisation (name) values ($1) on conflict (name) do nothing returning id, name",
        name,
    )
    .fetch_optional(db)
    .await
}

/// Oldest first.
pub async fn list(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Organisation>> {
    sqlx::query_as!(Organisation, "select id, name from organisation order by created_at, id")
        .fetch_all(db)
        .await
}

/// The id of the organisation with this name.
pub async fn find_by_name(db: impl PgExecutor<'_>, name: &str) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("select id from organisation where name = $1", name).fetch_optional(db).await
}

pub async fn exists(db: impl PgExecutor<'_>, id: i64) -> sqlx::Result<bool> {
    let found =
        sqlx::query_scalar!("select id from organisation where id = $1", id).fetch_optional(db).await?;
    Ok(found.is_some())
}

/// Serialises deletions and merges of an organisation until the transaction ends: they lock so many rows that two of them
/// would deadlock. Requests never wait for it, since a foreign key to the organisation takes a weaker lock. Without such an
/// organisation there is nothing to wait for.
pub(super) async fn lock_for_deletion(transaction: &mut PgConnection, id: i64) -> sqlx::Result<()> {
    sqlx::query!("select id from organisation where id = $1 for no key update", id)
        .fetch_optional(transaction)
        .await?;
    Ok(())
}
