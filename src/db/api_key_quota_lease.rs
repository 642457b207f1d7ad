//! The tables `server_instance` and `api_key_quota_lease`: what each server holds of each key's limit.
//!
//! Servers change this one after the other, so that none takes what another is about to take: everything here happens in
//! a transaction that has the [turn](lock_exchange).

use sqlx::{Connection, PgConnection, Postgres, Transaction};

/// What a server holds of a key's limit.
#[derive(Debug)]
pub struct LeaseRow {
    /// Whose limit.
    pub api_key_id: i64,
    /// Let in within the last minute.
    pub calls: i64,
    /// How many may be.
    pub quota: i64,
    /// Calls that came lately, let in or not.
    pub demand: i64,
    /// Whether the server has been seen within two seconds: what it holds is its own. Else only its calls count.
    pub alive: bool,
}

/// Waits until no other server exchanges leases, a moment at most; ends with the transaction.
pub async fn lock_exchange(connection: &mut PgConnection) -> sqlx::Result<Transaction<'_, Postgres>> {
    let mut transaction = connection.begin().await?;
    sqlx::query("set local lock_timeout = '200ms'").execute(&mut *transaction).await?;
    let turn = "select pg_advisory_xact_lock(hashtext('customer-match: leases of limits'))";
    sqlx::query(turn).execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Forgets servers whose calls do not count any more.
pub async fn purge_expired(turn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("delete from server_instance where last_heartbeat_at < now() - interval '2 minutes'")
        .execute(turn)
        .await?;
    Ok(())
}

/// Says that this server runs.
pub async fn heartbeat(turn: &mut PgConnection, server_id: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into server_instance (id, last_heartbeat_at) values ($1, now())
         on conflict (id) do update set last_heartbeat_at = excluded.last_heartbeat_at",
        server_id,
    )
    .execute(turn)
    .await?;
    Ok(())
}

/// Says that this server has gone.
pub async fn deregister(turn: &mut PgConnection, server_id: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "update server_instance set last_heartbeat_at = now() - interval '2 seconds' where id = $1",
        server_id
    )
    .execute(turn)
    .await?;
    Ok(())
}

/// What all other servers hold of these keys, or have left behind within the last minute.
pub async fn list_others(
    turn: &mut PgConnection,
    server_id: i64,
    keys: &[i64],
) -> sqlx::Result<Vec<LeaseRow>> {
    sqlx::query_as!(
        LeaseRow,
        r#"select s.api_key_id, s.calls, s.quota, s.demand, v.last_heartbeat_at > now() - interval '2 seconds' as "alive!"
           from api_key_quota_lease s join server_instance v on v.id = s.server_id
           where s.api_key_id = any($2) and s.server_id <> $1 and v.last_heartbeat_at > now() - interval '62 seconds'"#,
        server_id,
        keys,
    )
    .fetch_all(turn)
    .await
}

/// Writes what this server holds of some keys.
pub async fn upsert(turn: &mut PgConnection, server_id: i64, leases: &[LeaseRow]) -> sqlx::Result<()> {
    let ids: Vec<_> = leases.iter().map(|quota| quota.api_key_id).collect();
    let calls: Vec<_> = leases.iter().map(|quota| quota.calls).collect();
    let sizes: Vec<_> = leases.iter().map(|quota| quota.quota).collect();
    let demands: Vec<_> = leases.iter().map(|quota| quota.demand).collect();
    sqlx::query!(
        "insert into api_key_quota_lease (server_id, api_key_id, calls, quota, demand)
         select $1, * from unnest($2::int8[], $3::int8[], $4::int8[], $5::int8[])
         on conflict (api_key_id, server_id)
         do update set calls = excluded.calls, quota = excluded.quota, demand = excluded.demand",
        server_id,
        &ids,
        &calls,
        &sizes,
        &demands,
    )
    .execute(turn)
    .await?;
    Ok(())
}

/// Gives up what this server holds of some keys, none of whose calls count any more.
pub async fn delete(turn: &mut PgConnection, server_id: i64, keys: &[i64]) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from api_key_quota_lease where server_id = $1 and api_key_id = any($2)",
        server_id,
        keys
    )
    .execute(turn)
    .await?;
    Ok(())
}
