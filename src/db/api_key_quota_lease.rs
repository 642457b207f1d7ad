//! The tables `server_instance` and `api_key_quota_lease`: which servers run, and their leases on each key's rate limit.
//!
//! Every function but [`lock_exchange`] runs in the transaction that it returns: its lock lets one server at a time read the
//! leases of the others and write its own, so that no two lease the same part of a limit.

use sqlx::{Connection, PgConnection, Postgres, Transaction};

#[derive(Debug)]
pub struct LeaseRow {
    pub api_key_id: i64,
    /// Calls admitted within the last minute.
    pub calls: i64,
    /// Calls that may be admitted within a minute.
    pub quota: i64,
    /// Recent calls, admitted or not.
    pub demand: i64,
}

/// Another server.
#[derive(Debug)]
pub struct ServerRow {
    pub id: i64,
    /// Another text after each heartbeat. It is compared and not read as a time: the database's clock may be set.
    pub heartbeat: String,
    /// False once the server has deregistered.
    pub running: bool,
}

/// Begins a transaction with the lock of the exchange, which it holds until it ends. Fails with a lock timeout after 200 ms.
pub async fn lock_exchange(connection: &mut PgConnection) -> sqlx::Result<Transaction<'_, Postgres>> {
    let mut transaction = connection.begin().await?;
    sqlx::query("set local lock_timeout = '200ms'").execute(&mut *transaction).await?;
    let lock = "select pg_advisory_xact_lock(hashtext('customer-match: quota exchange'))";
    sqlx::query(lock).execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Deletes servers and with them their leases.
pub async fn purge(connection: &mut PgConnection, servers: &[i64]) -> sqlx::Result<()> {
    sqlx::query!("delete from server_instance where id = any($1)", servers).execute(connection).await?;
    Ok(())
}

/// Records that this server runs. True if it was not on record, so that neither are its leases.
pub async fn heartbeat(connection: &mut PgConnection, server_id: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"insert into server_instance (id, last_heartbeat_at) values ($1, clock_timestamp())
           on conflict (id) do update set last_heartbeat_at = excluded.last_heartbeat_at
           returning xmax = 0 as "inserted!""#,
        server_id,
    )
    .fetch_one(connection)
    .await
}

/// Records that this server has stopped, so that the others take its unused quota at once. Its row stays, as its calls still
/// count.
pub async fn deregister(connection: &mut PgConnection, server_id: i64) -> sqlx::Result<()> {
    sqlx::query!("update server_instance set last_heartbeat_at = '-infinity' where id = $1", server_id)
        .execute(connection)
        .await?;
    Ok(())
}

pub async fn list_other_servers(
    connection: &mut PgConnection,
    server_id: i64,
) -> sqlx::Result<Vec<ServerRow>> {
    sqlx::query_as!(
        ServerRow,
        r#"select id, last_heartbeat_at::text as "heartbeat!", isfinite(last_heartbeat_at) as "running!"
           from server_instance where id <> $1"#,
        server_id,
    )
    .fetch_all(connection)
    .await
}

/// The leases of all other servers on these keys, with the server of each.
pub async fn list_others(
    connection: &mut PgConnection,
    server_id: i64,
    keys: &[i64],
) -> sqlx::Result<Vec<(i64, LeaseRow)>> {
    let rows = sqlx::query!(
        "select server_id, api_key_id, calls, quota, demand from api_key_quota_lease
         where api_key_id = any($2) and server_id <> $1",
        server_id,
        keys,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let lease = LeaseRow {
                api_key_id: row.api_key_id,
                calls: row.calls,
                quota: row.quota,
                demand: row.demand,
            };
            (row.server_id, lease)
        })
        .collect())
}

/// Writes this server's leases on some keys.
pub async fn upsert(connection: &mut PgConnection, server_id: i64, leases: &[LeaseRow]) -> sqlx::Result<()> {
    let ids: Vec<_> = leases.iter().map(|lease| lease.api_key_id).collect();
    let calls: Vec<_> = leases.iter().map(|lease| lease.calls).collect();
    let quotas: Vec<_> = leases.iter().map(|lease| lease.quota).collect();
    let demands: Vec<_> = leases.iter().map(|lease| lease.demand).collect();
    sqlx::query!(
        "insert into api_key_quota_lease (server_id, api_key_id, calls, quota, demand)
         select $1, * from unnest($2::int8[], $3::int8[], $4::int8[], $5::int8[])
         on conflict (api_key_id, server_id)
         do update set calls = excluded.calls, quota = excluded.quota, demand = excluded.demand",
        server_id,
        &ids,
        &calls,
        &quotas,
        &demands,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes this server's leases on keys none of whose calls counts any more.
pub async fn delete(connection: &mut PgConnection, server_id: i64, keys: &[i64]) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from api_key_quota_lease where server_id = $1 and api_key_id = any($2)",
        server_id,
        keys
    )
    .execute(connection)
    .await?;
    Ok(())
}
