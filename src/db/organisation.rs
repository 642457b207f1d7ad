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

/// Serialises deletions, erasures and merges of an organisation until the transaction ends: they lock so many rows that two of them
/// would deadlock. An advisory lock, because the organisation's row is on every node of a cluster: locking it there is a commit
/// on all of them, and fails while one of them is down. Organisations with the same hash wait for each other.
pub(super) async fn lock_for_deletion(transaction: &mut PgConnection, id: i64) -> sqlx::Result<()> {
    let lock = "select pg_advisory_xact_lock(hashtext('customer-match: deletions'), hashint8($1))";
    sqlx::query(lock).bind(id).execute(transaction).await?;
    Ok(())
}
