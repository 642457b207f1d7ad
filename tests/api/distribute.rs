//! `customer-match distribute`, on one Postgres and on a cluster.

use customer_match::db::{Layout, migration};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::support::binary::{on, run, run_json, run_refused};
use crate::support::{Service, TestDatabase};

#[tokio::test]
async fn a_database_without_its_migrations_is_rejected() {
    let database = TestDatabase::create_empty().await;
    let message = run_refused(on(&database, &["distribute", "--dry-run"]));
    assert!(message.contains("run `customer-match migrate`"), "{message}");
}

/// Migrated, and not distributed yet.
#[tokio::test]
async fn a_database_with_rows_is_distributed_or_says_what_it_lacks() {
    let database = TestDatabase::create_empty().await;
    migration::run(&database.options()).await.unwrap();
    let distribute = |flags: &[&str]| on(&database, &[&["distribute", "--format", "json"], flags].concat());
    let is_cluster = Service::start().await.database.layout() == Layout::Distributed;
    if !is_cluster {
        assert_eq!(
            run_refused(distribute(&[])).trim_end(),
            "error: the database has no extension citus: install Citus on every node, set shared_preload_libraries = 'citus', \
             restart Postgres and run `create extension citus` in this database on each of them (docs/distributed.md)"
        );
        return;
    }
    let mut connection = database.connect().await;
    sqlx::raw_sql(
        "insert into organisation (name) values ('Acme'), ('Other');
         insert into customer (organisation_id, cu_ref_no) values
             (1, 'AAAAAAAAAAAAAAAA'), (1, 'BBBBBBBBBBBBBBBB'), (2, 'AAAAAAAAAAAAAAAA');
         insert into customer_match (
             organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, created_at, matched_at, updated_at
         ) values (1, 'AAAAAAAAAAAAAAAA', 'BBBBBBBBBBBBBBBB', true, false, now(), now(), now())",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let names = |plan: &Value, list: &str| -> Vec<String> {
        plan[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|table| table["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let planned = run_json(distribute(&["--dry-run"]));
    assert_eq!(names(&planned, "referenceTables"), ["organisation"]);
    assert_eq!(names(&planned, "tables")[..3], ["customer", "customer_identity", "customer_match"]);
    assert_eq!(Layout::read(&database.options()).await.unwrap(), Layout::Single, "a dry run changes nothing");
    let mut server = database.connect().await;
    sqlx::raw_sql("set application_name = 'customer-match writer'").execute(&mut server).await.unwrap();
    let message = run_refused(distribute(&[]));
    assert!(message.contains("1 connection(s) of customer-match use the database"), "{message}");
    server.close().await.unwrap();

    assert_eq!(run_json(distribute(&[])), {
        let mut planned = planned;
        planned["dryRun"] = json!(false);
        planned
    });
    assert_eq!(Layout::read(&database.options()).await.unwrap(), Layout::Distributed);
    let rows: i64 =
        sqlx::query_scalar("select (select count(*) from customer) + (select count(*) from customer_match)")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(rows, 4);
    assert_eq!(run(on(&database, &["distribute"])).trim_end(), "All tables are distributed.");
    // What a later migration adds.
    sqlx::raw_sql(
        "create table later (organisation_id int8, name text, primary key (organisation_id, name))",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    assert_eq!(names(&run_json(distribute(&["--dry-run"])), "tables"), ["later"]);
    run(on(&database, &["migrate"]));
    assert_eq!(run(on(&database, &["distribute"])).trim_end(), "All tables are distributed.");
}
