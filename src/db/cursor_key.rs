//! The table `cursor_key`.

use sqlx::PgConnection;

use crate::domain::CursorKey;

/// The key, which never changes.
pub async fn find(connection: &mut PgConnection) -> sqlx::Result<CursorKey> {
    let secret = sqlx::query_scalar!("select secret from cursor_key").fetch_one(connection).await?;
    Ok(CursorKey::new(&secret))
}
