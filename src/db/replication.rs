//! How far a standby has replayed the log of its primary.
//!
//! A standby shows a commit once it has replayed it, and its primary acknowledges a commit once that is flushed. So a standby that has
//! replayed what the primary had flushed at some moment shows all that was acknowledged before that moment, by whichever server.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

/// How far a primary has flushed its log.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    primary: Identity,
    /// Bytes from the beginning of the log.
    flushed: i64,
}

/// Which log it is, and what of its database is read. It does not change while a session lasts.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    system_identifier: i64,
    timeline: i32,
    /// Object ids, which are the same in a standby and differ in another database of it, or another schema.
    database: i64,
    table: i64,
}

/// A server as seen from a position of a primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Standing {
    #[error("it has replayed what the database had")]
    CaughtUp,
    #[error("its replay lags")]
    Behind,
    /// Or it was none from the beginning.
    #[error("it is no standby any more")]
    Promoted,
    /// After a fail-over, until the first restart point on the new timeline.
    #[error("its last restart point is on another timeline than the database")]
    OtherTimeline,
    #[error("it is no standby of the database that the database URL names")]
    Foreign,
}

/// Which primary it is. A standby that is asked rejects the question.
pub async fn identity(primary: &mut PgConnection) -> sqlx::Result<Identity> {
    sqlx::query_as!(
        Identity,
        r#"select
               control.system_identifier as "system_identifier!",
               ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int4 as "timeline!",
               (select oid from pg_database where datname = current_database())::int8 as "database!",
               to_regclass('customer_match')::oid::int8 as "table!"
           from pg_control_system() as control"#
    )
    .fetch_one(primary)
    .await
}

/// Where the primary is that has this identity. It costs the primary little, because it is asked for each read.
pub async fn position(primary: &mut PgConnection, identity: Identity) -> sqlx::Result<Position> {
    let flushed = sqlx::query_scalar!(r#"select (pg_current_wal_flush_lsn() - '0/0')::int8 as "flushed!""#);
    Ok(Position { primary: identity, flushed: flushed.fetch_one(primary).await? })
}

/// How a server stands. What it is asked next on the same connection sees at least as much as this question.
pub async fn standing(server: &mut PgConnection, position: &Position) -> sqlx::Result<Standing> {
    let found = sqlx::query!(
        r#"select
               control.system_identifier = $1
                   and (select oid from pg_database where datname = current_database())::int8 = $2 as "is_copy!",
               to_regclass('customer_match')::oid::int8 as table,
               pg_is_in_recovery() as "is_standby!",
               -- Where the replay is no function says.
               checkpoint.timeline_id = $3 as "is_on_timeline!",
               coalesce(pg_last_wal_replay_lsn() - '0/0' >= $4::int8, false) as "has_replayed!"
           from pg_control_system() as control, pg_control_checkpoint() as checkpoint"#,
        position.primary.system_identifier,
        position.primary.database,
        position.primary.timeline,
        position.flushed,
    )
    .fetch_one(server)
    .await?;
    // The table may not have been replayed yet.
    let may_come = found.is_standby && !found.has_replayed;
    let has_table = found.table.map_or(may_come, |table| table == position.primary.table);
    Ok(if !found.is_copy || !has_table {
        Standing::Foreign
    } else if !found.is_standby {
        Standing::Promoted
    } else if !found.is_on_timeline {
        Standing::OtherTimeline
    } else if found.has_replayed {
        Standing::CaughtUp
    } else {
        Standing::Behind
    })
}

/// How a server stands to another one that is asked first.
pub async fn standing_of(server: &PgConnectOptions, primary: &PgConnectOptions) -> sqlx::Result<Standing> {
    let mut connection = PgConnection::connect_with(primary).await?;
    let identity = identity(&mut connection).await?;
    let position = position(&mut connection, identity).await?;
    connection.close().await?;
    let mut connection = PgConnection::connect_with(server).await?;
    let standing = standing(&mut connection, &position).await?;
    connection.close().await?;
    Ok(standing)
}
