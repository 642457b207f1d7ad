//! What the database does to keep an acknowledged commit. The server demands `synchronous_commit` of its own sessions
//! ([`super::connect`]); what follows is for the whole cluster and cannot be set by a session.

use std::path::PathBuf;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

#[derive(Debug)]
pub struct Durability {
    /// Off: a crash of the machine loses commits, and may break the database.
    pub fsync: bool,
    /// Off: a crash of the machine may break pages, unless the file system writes them atomically.
    pub full_page_writes: bool,
    /// Only told to superusers and members of `pg_read_all_settings`.
    pub data_directory: Option<PathBuf>,
}

pub async fn read(options: &PgConnectOptions) -> sqlx::Result<Durability> {
    let mut connection = PgConnection::connect_with(options).await?;
    let settings = sqlx::query!(
        r#"select
            current_setting('fsync')::boolean as "fsync!", current_setting('full_page_writes')::boolean as "full_page_writes!",
            (select setting from pg_settings where name = 'data_directory') as data_directory"#
    )
    .fetch_one(&mut connection)
    .await?;
    let _ = connection.close().await;
    Ok(Durability {
        fsync: settings.fsync,
        full_page_writes: settings.full_page_writes,
        data_directory: settings.data_directory.map(PathBuf::from),
    })
}
