//! Whether the tables of tenants are distributed over the workers of a Citus cluster.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

/// Where the tables of tenants are. It does not change while servers run (`customer-match distribute`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In this database.
    Single,
    /// On workers. This database is the coordinator, which hands statements on.
    Distributed,
}

impl Layout {
    /// Reads it on a connection of its own.
    pub async fn read(options: &PgConnectOptions) -> sqlx::Result<Self> {
        let mut connection = PgConnection::connect_with(options).await?;
        let layout = Self::read_on(&mut connection).await?;
        connection.close().await?;
        Ok(layout)
    }

    pub(crate) async fn read_on(connection: &mut PgConnection) -> sqlx::Result<Self> {
        // The catalogue is there only with the extension, so these statements cannot be checked at compile time.
        let has_extension: bool =
            sqlx::query_scalar("select to_regclass('pg_catalog.pg_dist_partition') is not null")
                .fetch_one(&mut *connection)
                .await?;
        if !has_extension {
            return Ok(Self::Single);
        }
        let is_distributed: bool = sqlx::query_scalar(
            "select exists (select from pg_dist_partition where logicalrelid = to_regclass('customer') and partmethod = 'h')",
        )
        .fetch_one(connection)
        .await?;
        Ok(if is_distributed { Self::Distributed } else { Self::Single })
    }
}
