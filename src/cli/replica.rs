//! The replica that the settings of `serve` name.

use anyhow::{Context, bail};
use sqlx::postgres::PgConnectOptions;

use super::database::{Database, bounded, may_be_reachable_later};
use crate::db::Layout;
use crate::db::replication::{self, Standing};

/// Rejects what can be no replica of the database. A promoted standby is accepted: after a fail-over it may be the database itself.
pub(super) async fn check(database: &Database, replica: PgConnectOptions) -> anyhow::Result<()> {
    if database.layout().await? == Layout::Distributed {
        bail!(
            "--replica-database-url is for a database on one Postgres, and this one is distributed over workers, whose standbys it \
             does not name: leave it out"
        );
    }
    let replica = Database { options: replica, private: None };
    replica.pooling().await.context("--replica-database-url")?;
    let standing = replication::standing_of(&replica.options, &database.options);
    if bounded(standing).await.context("--replica-database-url")? == Standing::Foreign {
        bail!(
            "--replica-database-url names no standby of the database: it has another system identifier, another database or \
             another schema"
        );
    }
    Ok(())
}

/// The same at a start, which does not wait for a replica that cannot be reached: the server uses it once it is there.
pub(super) async fn check_if_reachable(database: &Database, replica: PgConnectOptions) -> anyhow::Result<()> {
    match check(database, replica).await {
        Err(error) if !may_be_reachable_later(&error) => Err(error),
        _ => Ok(()),
    }
}
