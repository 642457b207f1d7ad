//! The tables `running_server` and `api_key_share`: what each server holds of each key's limit.
//!
//! Servers change this one after the other, so that none takes what another is about to take: everything here happens in
//! a transaction that has the [turn](take_turn).

use sqlx::{Connection, PgConnection, Postgres, Transaction};

/// What a server holds of a key's limit.
#[derive(Debug)]
pub struct Share {
    /// Whose limit.
    pub api_key_id: i64,
    /// Let in within the last minute.
    pub calls: i64,
    /// How many may be.
    pub share: i64,
    /// Calls that came lately, let in or not.
    pub demand: i64,
    /// Whether the server has been seen within two seconds: what it holds is its own. Else only its calls count.
    pub alive: bool,
}

/// Waits until no other server exchanges shares, a moment at most; ends with the transaction.
pub async fn take_turn(connection: &mut PgConnection) -> sqlx::Result<Transaction<'_, Postgres>> {
    let mut transaction = connection.begin().await?;
    sqlx::query("set local lock_timeout = '200ms'").execute(&mut *transaction).await?;
    let turn = "select pg_advisory_xact_lock(hashtext('customer-match: shares of limits'))";
    sqlx::query(turn).execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Forgets servers whose calls do not count any more.
pub async fn forget_the_gone(turn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("delete from running_server where seen_at < now() - interval '2 minutes'")
        .execute(turn)
        .await?;
    Ok(())
}

/// Says that this server runs.
pub async fn appear(turn: &mut PgConnection, server_id: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into running_server (id, seen_at) values ($1, now())
         on conflict (id) do update set seen_at = excluded.seen_at",
        server_id,
    )
    .execute(turn)
    .await?;
    Ok(())
}

/// Says that this server has gone.
pub async fn disappear(turn: &mut PgConnection, server_id: i64) -> sqlx::Result<()> {
    sqlx::query!("update running_server set seen_at = now() - interval '2 seconds' where id = $1", server_id)
        .execute(turn)
        .await?;
    Ok(())
}

/// What all other servers hold of these keys, or have left behind within the last minute.
pub async fn of_others(turn: &mut PgConnection, server_id: i64, keys: &[i64]) -> sqlx::Result<Vec<Share>> {
    sqlx::query_as!(
        Share,
        r#"select s.api_key_id, s.calls, s.share, s.demand, v.seen_at > now() - interval '2 seconds' as "alive!"
           from api_key_share s join running_server v on v.id = s.server_id
           where s.api_key_id = any($2) and s.server_id <> $1 and v.seen_at > now() - interval '62 seconds'"#,
        server_id,
        keys,
    )
    .fetch_all(turn)
    .await
}

/// Writes what this server holds of some keys.
pub async fn hold(turn: &mut PgConnection, server_id: i64, shares: &[Share]) -> sqlx::Result<()> {
    let ids: Vec<_> = shares.iter().map(|share| share.api_key_id).collect();
    let calls: Vec<_> = shares.iter().map(|share| share.calls).collect();
    let sizes: Vec<_> = shares.iter().map(|share| share.share).collect();
    let demands: Vec<_> = shares.iter().map(|share| share.demand).collect();
    sqlx::query!(
        "insert into api_key_share (server_id, api_key_id, calls, share, demand)
         select $1, * from unnest($2::int8[], $3::int8[], $4::int8[], $5::int8[])
         on conflict (api_key_id, server_id)
         do update set calls = excluded.calls, share = excluded.share, demand = excluded.demand",
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
pub async fn release(turn: &mut PgConnection, server_id: i64, keys: &[i64]) -> sqlx::Result<()> {
    sqlx::query!("delete from api_key_share where server_id = $1 and api_key_id = any($2)", server_id, keys)
        .execute(turn)
        .await?;
    Ok(())
}
