//! A Citus cluster whose coordinator a database URL names.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::node::Node;

/// The coordinator, and where it listens on this machine.
pub async fn coordinator(options: &PgConnectOptions) -> anyhow::Result<(Node, PathBuf)> {
    let mut database = PgConnection::connect_with(options).await?;
    let (data_dir, sockets): (String, String) = sqlx::query_as(
        "select current_setting('data_directory'), split_part(current_setting('unix_socket_directories'), ',', 1)",
    )
    .fetch_one(&mut database)
    .await?;
    database.close().await?;
    Ok((Node::new(Path::new(&data_dir))?, PathBuf::from(sockets)))
}

pub async fn workers(options: &PgConnectOptions) -> anyhow::Result<Vec<Node>> {
    let mut database = PgConnection::connect_with(options).await?;
    let data_dirs: Vec<(bool, String)> =
        sqlx::query_as("select success, result from run_command_on_workers('show data_directory')")
            .fetch_all(&mut database)
            .await
            .context("the database is not the coordinator's")?;
    database.close().await?;
    if data_dirs.len() < 2 {
        bail!("the cluster has {} workers: a shard that moves needs two", data_dirs.len());
    }
    let node = |(success, result): (bool, String)| {
        if success { Node::new(Path::new(&result)) } else { bail!("a worker cannot be reached: {result}") }
    };
    data_dirs.into_iter().map(node).collect()
}

/// Moves the shards with the rows of an organisation to another worker. Its writes wait meanwhile.
pub async fn move_shards(options: &PgConnectOptions, organisation: i64) -> sqlx::Result<()> {
    let mut database = PgConnection::connect_with(options).await?;
    let (shard, from, from_port, to, to_port): (i64, String, i32, String, i32) = sqlx::query_as(
        "select p.shardid, f.nodename, f.nodeport, t.nodename, t.nodeport
         from pg_dist_placement p
         join pg_dist_node f using (groupid)
         join pg_dist_node t on t.groupid <> f.groupid and t.shouldhaveshards
         where p.shardid = get_shard_id_for_distribution_column('customer', $1)
         order by random()
         limit 1",
    )
    .bind(organisation)
    .fetch_one(&mut database)
    .await?;
    sqlx::query("select citus_move_shard_placement($1, $2, $3, $4, $5, 'block_writes')")
        .bind(shard)
        .bind(from)
        .bind(from_port)
        .bind(to)
        .bind(to_port)
        .execute(&mut database)
        .await?;
    database.close().await
}
