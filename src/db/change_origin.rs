//! The table `change_origin`: whether the change numbers of relations (`customer_match.changed_in`) were drawn in this database.
//!
//! A change number is the id of a transaction, and those begin anew in another database cluster. A copy of the files, which a
//! standby, a base backup or a snapshot of the disk is, takes the counter of transactions along. A dump does not: the numbers of its rows stand
//! before or after those that are drawn where it is restored, so a reader would miss changes. So the row of this table says where the
//! numbers come from, and [`renumber_if_foreign`] gives restored rows new ones.
//!
//! On a cluster an organisation is on one worker, until its shard moves to another one with other transactions. There
//! `organisation_change_origin` has a row for each organisation, on its shard.

use sqlx::{Connection, PgConnection};

use crate::domain::ChangeHistory;

/// Relations that are renumbered in one transaction: their writers wait for a part of a second.
const RENUMBERED_TOGETHER: i64 = 5_000;

/// What the database says of its change numbers.
#[derive(Debug)]
pub struct ChangeOrigin {
    /// `None`: the rows' numbers were drawn elsewhere, and are to be renumbered; or the database is a standby.
    pub history: Option<ChangeHistory>,
    pub visible: Visible,
}

/// Which changes can be shown now.
#[derive(Debug, Clone, Copy)]
pub struct Visible {
    /// Whose transactions they are: the system identifier of a worker, [`Self::ONLY_NODE`] without a cluster.
    pub node: i64,
    /// Those of all transactions before this one, which have ended.
    pub first_running: i64,
    /// No transaction from this one on has begun.
    pub next: i64,
}

impl Visible {
    pub const ONLY_NODE: i64 = 0;
}

/// Reads the origin. A page must be read after it, not before: then a cursor that is made of both is none of a later origin.
pub async fn read(db: &mut PgConnection) -> sqlx::Result<ChangeOrigin> {
    let row = sqlx::query!(
        r#"select
               case when origin.system_identifier = control.system_identifier and origin.xmin = origin.written_in::xid
                         and not pg_is_in_recovery()
                    then substr(sha256(convert_to(concat_ws(
                        '/',
                        control.system_identifier,
                        -- A promoted standby, or a base backup that was recovered to a moment, may draw numbers again that
                        -- were drawn, shown and lost. It has another timeline.
                        substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
                        -- `create database … template` copies the row as it is.
                        (select oid from pg_database where datname = current_database()),
                        origin.written_in
                    ), 'UTF8')), 1, 8)
               end as history,
               pg_snapshot_xmin(pg_current_snapshot())::text::int8 as "first_running!",
               pg_snapshot_xmax(pg_current_snapshot())::text::int8 as "next!"
           from pg_control_system() as control left join change_origin as origin on true"#
    )
    .fetch_one(db)
    .await?;
    let history = row.history.and_then(|bytes| bytes.try_into().ok()).map(ChangeHistory);
    let visible = Visible { node: Visible::ONLY_NODE, first_running: row.first_running, next: row.next };
    Ok(ChangeOrigin { history, visible })
}

/// Renumbers all relations if their numbers were drawn elsewhere, in the order of pairs; true if it did. May be interrupted and run
/// again. The feed of changes is not served until the end, and every cursor from before is of another origin.
pub async fn renumber_if_foreign(db: &mut PgConnection) -> sqlx::Result<bool> {
    if read(db).await?.history.is_some() {
        return Ok(false);
    }
    for organisation_id in organisations(db).await? {
        renumber(db, organisation_id).await?;
    }
    sqlx::query!(
        "insert into change_origin (system_identifier) select system_identifier from pg_control_system()
         on conflict (id) do update set
             system_identifier = excluded.system_identifier, written_in = excluded.written_in"
    )
    .execute(db)
    .await?;
    Ok(true)
}

/// The same on a cluster, for each organisation by itself. Servers do it too, for an organisation that they find so: an error of a worker
/// that is down leaves the rest to them.
pub async fn renumber_distributed(db: &mut PgConnection) -> sqlx::Result<()> {
    // A call is delegated by the value of its organisation, which a generic plan does not have.
    sqlx::query("set plan_cache_mode = force_custom_plan").execute(&mut *db).await?;
    // The numbers are the workers'. In this database they would be foreign if it had the relations again.
    sqlx::query!("delete from change_origin").execute(&mut *db).await?;
    for organisation_id in organisations(db).await? {
        loop {
            match renumber_some(db, organisation_id).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, organisation_id, "changes cannot be numbered now, and servers do it later");
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

async fn organisations(db: &mut PgConnection) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!("select id from organisation order by id").fetch_all(db).await
}

/// Renumbers some relations of an organisation of a cluster, if their numbers were drawn on another worker; true once all are. Many calls
/// may be made at the same time; they wait for each other.
pub async fn renumber_some(db: &mut PgConnection, organisation_id: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select done as "done!" from organisation_renumber($1, $2) as done"#,
        organisation_id,
        RENUMBERED_TOGETHER,
    )
    .fetch_one(db)
    .await
}

async fn renumber(db: &mut PgConnection, organisation_id: i64) -> sqlx::Result<()> {
    let mut after = Some((String::new(), String::new()));
    while let Some((low, high)) = after {
        let mut transaction = db.begin().await?;
        let last = sqlx::query!(
            r#"with next as (
                   select low_cu_ref_no, high_cu_ref_no from customer_match
                   where organisation_id = $1 and (low_cu_ref_no, high_cu_ref_no) > ($2, $3)
                   order by low_cu_ref_no, high_cu_ref_no
                   limit $4
                   for no key update
               ),
               renumbered as (
                   update customer_match set changed_in = pg_current_xact_id()
                   from next
                   where organisation_id = $1
                     and customer_match.low_cu_ref_no = next.low_cu_ref_no
                     and customer_match.high_cu_ref_no = next.high_cu_ref_no
               )
               select low_cu_ref_no as low, high_cu_ref_no as high from next
               order by low_cu_ref_no desc, high_cu_ref_no desc limit 1"#,
            organisation_id,
            low,
            high,
            RENUMBERED_TOGETHER,
        )
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        after = last.map(|last| (last.low, last.high));
    }
    Ok(())
}
