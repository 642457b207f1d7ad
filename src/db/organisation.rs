//! The table `organisation`.

use sqlx::PgExecutor;

/// An organisation: the owner of keys and customers.
#[derive(Debug)]
pub struct Organisation {
    /// Given by the database.
    pub id: i64,
    /// Unique.
    pub name: String,
}

/// Creates an organisation; `None` when one of this name exists.
pub async fn create(db: impl PgExecutor<'_>, name: &str) -> sqlx::Result<Option<Organisation>> {
    sqlx::query_as!(
        Organisation,
        "insert into organisation (name) values ($1) on conflict (name) do nothing returning id, name",
        name,
    )
    .fetch_optional(db)
    .await
}

/// All organisations, oldest first.
pub async fn list(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Organisation>> {
    sqlx::query_as!(Organisation, "select id, name from organisation order by created_at, id")
        .fetch_all(db)
        .await
}

/// The organisation of this name.
pub async fn find_by_name(db: impl PgExecutor<'_>, name: &str) -> sqlx::Result<Option<Organisation>> {
    sqlx::query_as!(Organisation, "select id, name from organisation where name = $1", name)
        .fetch_optional(db)
        .await
}
