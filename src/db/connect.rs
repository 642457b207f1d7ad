//! What every connection of the server relies on, whatever the defaults of the database or the role are. Set by a statement after
//! connecting: poolers reject or drop options in the start-up message. A session is assumed to stay on its connection.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row};
use tokio::time::timeout;

use super::layout::Layout;

/// What one kind of connection is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    /// Shown in `pg_stat_activity`.
    pub(crate) application_name: &'static str,
    /// The database ends a statement that takes longer. Zero: never, as for every timeout of a session.
    pub(crate) statement_timeout: Duration,
    /// The database ends a statement that waits longer for a lock.
    pub(crate) lock_timeout: Duration,
    pub(crate) plans: Plans,
}

/// How statements are planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plans {
    /// As Postgres chooses.
    Auto,
    /// Every look-up is planned once and through an index: right for single rows, whatever size the tables had when the
    /// plan was made.
    Generic,
    /// Anew for each execution: the coordinator of a cluster finds the worker by the values of a statement.
    Custom,
}

impl Session {
    pub(crate) fn on(self, layout: Layout) -> Self {
        match layout {
            Layout::Single => self,
            Layout::Distributed => Self { plans: Plans::Custom, ..self },
        }
    }
}

/// Connects and configures the session.
pub(crate) async fn connect(options: &PgConnectOptions, session: Session) -> sqlx::Result<PgConnection> {
    let options = options.clone().application_name(session.application_name);
    let mut connection = PgConnection::connect_with(&options).await?;
    configure(&mut connection, session).await?;
    Ok(connection)
}

/// Sets what the server relies on:
///
/// - Read committed: each statement sees what was committed before it.
/// - `synchronous_commit` never weaker than `on`: an acknowledged commit has been flushed.
/// - UTC: times in JSON that the database makes.
/// - Backslashes in the texts of statements are plain characters.
/// - The timeouts; a transaction that is left open ends by itself.
///
/// A setting that this version of Postgres does not have is left out.
pub(crate) async fn configure(connection: &mut PgConnection, session: Session) -> sqlx::Result<()> {
    let milliseconds = |timeout: Duration| timeout.as_millis().to_string();
    sqlx::query(
        "select set_config(name, value, false)
         from (values
            ('default_transaction_isolation', 'read committed'),
            ('synchronous_commit', case current_setting('synchronous_commit')
                when 'remote_apply' then 'remote_apply' else 'on' end),
            ('TimeZone', 'UTC'),
            ('standard_conforming_strings', 'on'),
            ('statement_timeout', $1),
            ('lock_timeout', $2),
            ('idle_in_transaction_session_timeout', $3),
            ('idle_session_timeout', '0'),
            ('transaction_timeout', '0'),
            ('plan_cache_mode', $4),
            ('enable_seqscan', (not $5)::text),
            ('enable_bitmapscan', (not $5)::text)
         ) as wanted (name, value)
         where current_setting(name, true) is not null",
    )
    .persistent(false)
    .bind(milliseconds(session.statement_timeout))
    .bind(milliseconds(session.lock_timeout))
    .bind(milliseconds(session.statement_timeout * 2))
    .bind(match session.plans {
        Plans::Auto => "auto",
        Plans::Generic => "force_generic_plan",
        Plans::Custom => "force_custom_plan",
    })
    .bind(session.plans == Plans::Generic)
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a pooler such as PgBouncer stands before the database, and what its connections have there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// Each connection has a session, which ends with it.
    None,
    /// Each connection has a session, which another one gets afterwards (`pool_mode = session`).
    Session,
    /// Each transaction or statement has any session that is free (`pool_mode = transaction` or `statement`).
    Shared,
}

/// Enough to find a pooler that other clients use as well.
const POOLER_ROUNDS: usize = 5;

/// Finds out by the ids of sessions. Where they are shared, two open connections have the same, or one has several; where a pooler
/// keeps sessions, a later connection has that of an earlier one. By the simple protocol, because prepared statements collide
/// where sessions are shared.
pub(crate) async fn pooling(options: &PgConnectOptions) -> sqlx::Result<Pooling> {
    let mut connections =
        [PgConnection::connect_with(options).await?, PgConnection::connect_with(options).await?];
    let mut sessions = [None; 2];
    let mut shared = false;
    for _ in 0..POOLER_ROUNDS {
        for (connection, session) in connections.iter_mut().zip(&mut sessions) {
            let id = session_id(connection).await?;
            shared |= session.replace(id).is_some_and(|before| before != id);
        }
        shared |= sessions[0] == sessions[1];
    }
    for connection in connections {
        let _ = connection.close().await;
    }
    if shared {
        return Ok(Pooling::Shared);
    }
    let mut seen: Vec<i32> = sessions.into_iter().flatten().collect();
    for _ in 0..POOLER_ROUNDS {
        let mut connection = PgConnection::connect_with(options).await?;
        let id = session_id(&mut connection).await?;
        let _ = connection.close().await;
        if seen.contains(&id) {
            return Ok(Pooling::Session);
        }
        seen.push(id);
    }
    Ok(Pooling::None)
}

/// How long a connection without a session waits for one before it counts as waiting.
const SESSION_WAIT: Duration = Duration::from_secs(1);

/// How many connections get a session from a pooler at the same time, up to `wanted`. It accepts further ones and lets them wait.
pub(crate) async fn count_sessions(options: &PgConnectOptions, wanted: u32) -> sqlx::Result<u32> {
    let connections = (0..wanted).map(|_| PgConnection::connect_with(options));
    let mut connections = try_join_all(connections).await?;
    let answers = connections.iter_mut().map(|connection| timeout(SESSION_WAIT, session_id(connection)));
    let waiting = join_all(answers).await.iter().filter(|answer| answer.is_err()).count();
    Ok(wanted - u32::try_from(waiting).unwrap_or(wanted))
}

async fn session_id(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}
