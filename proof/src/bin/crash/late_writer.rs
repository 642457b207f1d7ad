//! Transactions that change relations and are committed late, in another order than they began, as an operator's are: what a reader of
//! changes could pass.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::prelude::*;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Writers, each with relations of its own.
const WRITERS: u32 = 3;
/// Relations of a writer.
const RELATIONS: u32 = 5;
/// After the database was unavailable.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts the writers in this organisation, whose customers no client knows, and returns the number of their commits so far. `None`
/// if its relations have no change numbers, as in an older version.
pub async fn start(
    options: &PgConnectOptions,
    socket: &watch::Sender<PathBuf>,
    organisation: i64,
    stop: &CancellationToken,
    random: &mut StdRng,
) -> anyhow::Result<Option<Arc<AtomicU32>>> {
    let mut database = PgConnection::connect_with(options).await?;
    let column = "select exists (select from pg_attribute
                  where attrelid = 'customer_match'::regclass and attname = 'changed_in')";
    if !sqlx::query_scalar::<_, bool>(column).fetch_one(&mut database).await? {
        return Ok(None);
    }
    // On a cluster the number is drawn on the node that has the row.
    let function = "select to_regprocedure('change_number(int8)') is not null";
    let change_number = if sqlx::query_scalar::<_, bool>(function).fetch_one(&mut database).await? {
        "change_number(version)"
    } else {
        "pg_current_xact_id()"
    };
    let commits = Arc::<AtomicU32>::default();
    for writer in 0..WRITERS {
        for number in 0..=RELATIONS {
            sqlx::query("insert into customer (organisation_id, cu_ref_no) values ($1, $2)")
                .bind(organisation)
                .bind(reference(writer, number))
                .execute(&mut database)
                .await?;
        }
        let (options, socket, stop) = (options.clone(), socket.subscribe(), stop.clone());
        let commits = Arc::clone(&commits);
        let mut random = StdRng::seed_from_u64(random.random());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                // The directory of the socket, of which the relays know the file.
                let directory = socket.borrow().parent().map(Path::to_owned).unwrap_or_default();
                let options = options.clone().socket(directory);
                if write(&options, organisation, writer, change_number, &mut random, &commits).await.is_err()
                {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
    }
    Ok(Some(commits))
}

fn reference(writer: u32, number: u32) -> String {
    format!("lateWriter{writer}{number:05}")
}

/// One transaction, which stays open for a while.
async fn write(
    options: &PgConnectOptions,
    organisation: i64,
    writer: u32,
    change_number: &str,
    random: &mut StdRng,
    commits: &AtomicU32,
) -> sqlx::Result<()> {
    let mut database = PgConnection::connect_with(options).await?;
    for _ in 0..10 {
        let mut transaction = database.begin().await?;
        for number in (1..=RELATIONS).sample(random, 2) {
            sqlx::query(
                "insert into customer_match as m (
                     organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
                     created_at, matched_at, updated_at
                 )
                 values ($1, $2, $3, true, false, $4, now(), now(), clock_timestamp())
                 on conflict (organisation_id, low_cu_ref_no, high_cu_ref_no) do update set
                     notice = excluded.notice, version = m.version + 1, updated_at = excluded.updated_at",
            )
            .bind(organisation)
            .bind(reference(writer, 0))
            .bind(reference(writer, number))
            .bind(format!("late {}", random.random::<u32>()))
            .execute(&mut *transaction)
            .await?;
            sqlx::query(&format!(
                "update customer_match set changed_in = {change_number}
                 where organisation_id = $1 and low_cu_ref_no = $2 and high_cu_ref_no = $3"
            ))
            .bind(organisation)
            .bind(reference(writer, 0))
            .bind(reference(writer, number))
            .execute(&mut *transaction)
            .await?;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        if random.random_bool(0.8) {
            transaction.commit().await?;
            commits.fetch_add(1, Ordering::Relaxed);
        } else {
            transaction.rollback().await?;
        }
    }
    database.close().await
}
