//! Each migration on a database that is in use: rows from before, servers from before. Interrupted migrations, and waiting ones.

use std::io::{BufRead, BufReader};

use customer_match::db::migration;
use customer_match::domain::{ApiKey, KeyKind};
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::migrate::{Migrate, Migrator};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::support::binary::{Server, on, run};
use crate::support::{
    CREATE, CUSTOMER, DETAIL, LIST, LOGOUT, MAGIC_AUTH, MANAGER, MATCH, Service, TestDatabase, UNMATCH, uri,
};

/// Those of the server.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// The migration that makes the table of relations.
const CUSTOMER_MATCH: i64 = 20261126000003;

/// Rows that a server could write from the version on that made their table or column, each generation with an
/// organisation of its own: `{n}` is its number, and `{key}` the hash of its key.
const ROWS: &[(i64, &str)] = &[
    (20261126000001, "insert into organisation (name) values ('Generation {n}')"),
    (20261126000001, "insert into api_key (organisation_id, hash, kind, mask) values ({n}, '{key}', 'prod', 'PROD…{n}')"),
    (
        20261126000001,
        "insert into api_key (organisation_id, hash, kind, mask, scopes, active, expires_at, deleted_at)
         values ({n}, sha256('{n}'), 'dev', 'DEV_…{n}', '{customer.match}', false, now(), now())",
    ),
    (
        20261126000002,
        "insert into customer (organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone, deleted_at) values
           ({n}, 'manager000000000', 'jan@barasek.com', 'Jan', 'Barášek', 'Barášek s. r. o.', '+420', null),
           ({n}, 'customer00000000', 'eva@example.com', 'Eva', 'Nováková', null, null, null),
           ({n}, 'ended00000000000', null, null, null, null, null, null),
           ({n}, 'deleted000000000', 'eva@example.com', null, 'Nováková', null, null, now())",
    ),
    (
        CUSTOMER_MATCH,
        "insert into customer_match (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
                                     created_at, matched_at, updated_at, deactivated_at)
         select {n}, least(m.cu_ref_no, c.cu_ref_no), greatest(m.cu_ref_no, c.cu_ref_no),
                m.cu_ref_no < c.cu_ref_no, m.cu_ref_no > c.cu_ref_no, 'Since {n}', now(), now(), now(),
                case c.cu_ref_no when 'ended00000000000' then now() end
         from customer m, customer c
         where m.organisation_id = {n} and m.cu_ref_no = 'manager000000000'
           and c.organisation_id = {n} and c.cu_ref_no in ('customer00000000', 'ended00000000000')",
    ),
    (
        20261126000002,
        "update customer set company_registration_number = '1', tax_identification_number = 'CZ1', real_ip = '::1'
         where organisation_id = {n}",
    ),
    (
        20261126000004,
        "insert into customer_identity (organisation_id, hash, cu_ref_no, created_at, expires_at, revoked_at)
         select {n}, sha256(cu_ref_no::bytea), cu_ref_no, now(), now() + '1 day', now() from customer where organisation_id = {n}",
    ),
    (
        20261126000002,
        "update customer set deletion_reason = 'twice', merged_into_cu_ref_no = 'customer00000000'
         where organisation_id = {n} and deleted_at is not null",
    ),
    (
        20261126000002,
        "insert into customer (organisation_id, cu_ref_no, deleted_at, erased_at) values ({n}, 'erased0000000000', now(), now())",
    ),
    (20261126000001, "update api_key set limit_per_minute = 5 where organisation_id = {n} and kind = 'dev'"),
    (20261126000001, "update api_key set last_used_at = now(), last_used_ip = '192.0.2.7' where organisation_id = {n}"),
    (
        20261126000001,
        "insert into api_key (organisation_id, hash, kind, mask, scopes, allowed_origins, client_limit_per_minute)
         values ({n}, sha256('page {n}'), 'prod', 'PROD…{n}', '{customer.match}', '{https://app.example}', 60)",
    ),
    (20261126000005, "insert into server_instance values ({n}, now())"),
    (
        20261126000005,
        "insert into api_key_quota_lease (api_key_id, server_id, calls, quota, demand)
         select id, {n}, 1, 2, 3 from api_key where organisation_id = {n}",
    ),
    (
        20261126000006,
        "insert into write_receipt (writer_id, batch_number, results, customers, relations, others)
         values ({n}, 1, '=', '{customer00000000}', '[]', '[]')",
    ),
    (
        20261126000008,
        "insert into change_origin (system_identifier) select system_identifier from pg_control_system() on conflict do nothing",
    ),
    (20261126120001, "insert into organisation_change_origin values ({n}, {n}, '1', 'a', 'b')"),
];

/// All rows, and all functions: what servers of the last version work with. `before` remembers them.
const REMEMBER: &str = "
    do $$
    declare t text;
    begin
      drop table if exists before;
      create table before as
        select 'function' as name, jsonb_build_object('signature', oid::regprocedure::text, 'result', pg_get_function_result(oid)) as row
        from pg_proc where pronamespace = 'public'::regnamespace;
      for t in select relname from pg_class
        where relnamespace = 'public'::regnamespace and relkind = 'r' and relname not in ('before', 'lost', '_sqlx_migrations')
      loop
        execute format('insert into before select %L, to_jsonb(t) from %I t', t, t);
      end loop;
    end $$";

/// What there was before and is no more, or is another.
const LOST: &str = "
    do $$
    declare t text;
    begin
      drop table if exists lost;
      create table lost as
        select name, row from before where name = 'function' and not exists (
          select from pg_proc where oid = to_regprocedure(row->>'signature') and pg_get_function_result(oid) = row->>'result');
      for t in select distinct name from before where name <> 'function' loop
        execute format(
          'insert into lost select name, row from before b
           where name = %L and not exists (select from %I t where to_jsonb(t) @> row)', t, t);
      end loop;
    end $$";

async fn execute(connection: &mut PgConnection, sql: &str) {
    if let Err(error) = sqlx::raw_sql(sql).execute(connection).await {
        panic!("{error} in {sql}");
    }
}

async fn texts(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}

/// Before each migration a generation of rows is written that is legal then. What they said is still there after it, so that
/// servers of the version before find what they know, and in the end the oldest is served like the newest.
#[tokio::test]
async fn each_keeps_what_was_there() {
    let database = TestDatabase::create_empty().await;
    let connection = &mut PgConnection::connect_with(&database.options()).await.unwrap();
    connection.ensure_migrations_table().await.unwrap();
    // Each generation's organisation has its number as id.
    let keys: Vec<_> = MIGRATIONS.iter().map(|_| ApiKey::generate(KeyKind::Prod)).collect();
    for (number, migration) in MIGRATIONS.iter().enumerate() {
        execute(connection, REMEMBER).await;
        connection.apply(migration).await.unwrap();
        execute(connection, LOST).await;
        let lost = texts(connection, "select name || ' ' || row from lost limit 3").await;
        assert!(lost.is_empty(), "{} {} loses {lost:#?}", migration.version, migration.description);
        let hash: String =
            keys[number].hash().as_bytes().iter().map(|octet| format!("{octet:02x}")).collect();
        for (_, rows) in ROWS.iter().filter(|(since, _)| *since <= migration.version) {
            let number = (number + 1).to_string();
            execute(connection, &rows.replace("{n}", &number).replace("{key}", &format!(r"\x{hash}"))).await;
        }
    }

    // Nothing was left for later, and no table and no column forgotten in ROWS.
    execute(connection, REMEMBER).await;
    let unfinished = texts(
        connection,
        "select conname::text from pg_constraint where not convalidated
         union all select indexrelid::regclass::text from pg_index where not indisvalid
         union all select relname::text from pg_class
           where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> '_sqlx_migrations'
           and relname not in (select name from before union select 'before' union select 'lost')
         union all select name || '.' || key from before, jsonb_each(row) where name <> 'function'
           group by name, key having bool_and(value = 'null')",
    )
    .await;
    assert_eq!(unfinished, [""; 0]);
    execute(connection, "drop table before; drop table lost").await;
    assert_eq!(migration::pending(&database.options()).await.unwrap(), 0);

    let service = Service::on(database);
    let manager = ("cuRefNo", "manager000000000");
    let pair = |customer| json!({ "managerCuRefNo": manager.1, "customerCuRefNo": customer });
    // The generations before this migration had no relations, as there was no table for them.
    let with_relations =
        MIGRATIONS.iter().zip(&keys).filter(|(migration, _)| migration.version >= CUSTOMER_MATCH);
    for (_, key) in with_relations {
        let list = async |filter: &[(&str, &str)]| {
            service.get(&uri(LIST, key.expose(), &[&[manager], filter].concat())).await
        };
        for found in [list(&[]).await, list(&[("query", "NOVAK")]).await] {
            assert_eq!(found.body["itemCount"], 1, "{:#}", found.body);
            assert_eq!(found.body["items"][0]["cuRefNo"], "customer00000000");
            assert!(found.body["items"][0]["notice"].as_str().unwrap().starts_with("Since "));
        }
        let log_in =
            service.post(&uri(MAGIC_AUTH, key.expose(), &[]), json!({ "email": "jan@barasek.com" })).await;
        let identity = log_in.body["identityId"].as_str().unwrap();
        let detail = [("identityId", identity), ("cuRefNo", "customer00000000")];
        assert_eq!(service.get(&uri(DETAIL, key.expose(), &detail)).await.body["lastName"], "Nováková");
        for path in [MATCH, UNMATCH] {
            for customer in ["customer00000000", "ended00000000000"] {
                service.post(&uri(path, key.expose(), &[]), pair(customer)).await.assert_success();
            }
            let deleted = service.post(&uri(path, key.expose(), &[]), pair("deleted000000000")).await;
            deleted.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
        }
    }
}

/// As migrations/README.md demands of one that is no transaction.
#[test]
fn each_can_be_applied_again_after_an_interruption() {
    for migration in MIGRATIONS.iter().filter(|migration| migration.no_tx) {
        let statement: String =
            migration.sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
        let repeatable =
            ["create index concurrently if not exists ", "create unique index concurrently if not exists "];
        assert!(repeatable.iter().any(|start| statement.starts_with(start)), "{statement}");
    }
}

/// The operator ends `migrate` while it waits for a transaction of another session.
#[tokio::test]
async fn an_interrupted_index_is_built_again() {
    let dir = TempDir::new().unwrap();
    let index = "-- no-transaction\ncreate index concurrently if not exists thing_name on thing (name)";
    for (file, sql) in [("1_thing.sql", "create table thing (name text)"), ("2_thing_name.sql", index)] {
        std::fs::write(dir.path().join(file), sql).unwrap();
    }
    let mut migrator = Migrator::new(dir.path()).await.unwrap();
    migrator.set_locking(false);
    let database = TestDatabase::create_empty().await;
    let mut other = database.connect().await;
    execute(&mut other, "begin isolation level repeatable read; select 1").await;

    let mut watch = database.connect().await;
    let sessions = "select count(*) from pg_stat_activity
                    where datname = current_database() and application_name = 'customer-match migrate'";
    let waiting =
        format!("{sessions} and wait_event_type = 'Lock' and query like '%create index concurrently%'");
    let waits =
        async { while sqlx::query_scalar::<_, i64>(&waiting).fetch_one(&mut watch).await.unwrap() == 0 {} };
    let options = database.options();
    tokio::select! {
        result = migration::apply(&migrator, &options) => panic!("{result:?}"),
        () = waits => {}
    }
    // Although the statement waits, the database notices that its client has left.
    while sqlx::query_scalar::<_, i64>(sessions).fetch_one(&mut watch).await.unwrap() > 0 {}
    let valid = "select indisvalid::text from pg_index where indexrelid = 'thing_name'::regclass";
    assert_eq!(texts(&mut watch, valid).await, ["false"]);
    execute(&mut other, "commit").await;

    migration::apply(&migrator, &database.options()).await.unwrap();
    assert_eq!(texts(&mut watch, valid).await, ["true"]);
    // The connection was lost after the statement and before the record of it.
    execute(&mut watch, "delete from _sqlx_migrations where version = 2").await;
    migration::apply(&migrator, &database.options()).await.unwrap();
    assert_eq!(texts(&mut watch, valid).await, ["true"]);
}

#[rstest]
#[case::another_migrate(
    "customer-match migrate",
    "select pg_advisory_lock(x'637573746f6d6572'::int8)",
    "select pg_advisory_unlock_all()"
)]
#[case::a_transaction("forgotten", "begin; create table organisation ()", "rollback")]
#[tokio::test]
async fn one_that_waits_says_for_which_session(
    #[case] application: &str,
    #[case] begin: &str,
    #[case] end: &str,
) {
    let database = TestDatabase::create_empty().await;
    let mut other =
        PgConnection::connect_with(&database.options().application_name(application)).await.unwrap();
    execute(&mut other, begin).await;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut other).await.unwrap();
    let mut migrate = on(&database, &["migrate", "--log-format", "json"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(migrate.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["level"], "WARN");
    let message = event["message"].as_str().unwrap();
    let waits_for = format!("the migration waits for process {pid} of the database (role ");
    assert!(
        message.starts_with(&waits_for)
            && message.contains(&format!("{application}, "))
            && message.contains(", idle"),
        "{message}"
    );
    let remedy = format!("`select pg_terminate_backend({pid})` ends it");
    assert_eq!(message.ends_with(&remedy), application == "forgotten", "{message}");
    execute(&mut other, end).await;
    assert!(migrate.wait().unwrap().success());
}

/// What a version after this one may do to the tables while this one is running.
const LATER: [&str; 7] = [
    "alter table customer add column later text not null default 'x' constraint later check (later <> '')",
    "alter table customer_match add column later text",
    "alter table customer_identity add column later text",
    "alter table api_key add column later text not null default 'x'",
    "alter table organisation add column later text",
    "create index later on customer_match (organisation_id, updated_at)",
    "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
       values (99991231235959, 'later', true, '', 0)",
];

async fn apply_later(service: &Service) {
    for statement in LATER {
        service.execute(statement).await;
    }
}

/// As in a rolling upgrade: this version is running, prepared statements and all, and goes on.
#[tokio::test]
async fn a_server_outlives_the_migrations_of_a_later_version() {
    let service = Service::start().await;
    let walk = async || {
        let identity = service.log_in("jan@barasek.com").await;
        let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
        service.post_match(pair.clone()).await.assert_success();
        let guest = json!({ "managerCuRefNo": MANAGER, "customerEmail": "guest@example.com" });
        service.post_match(guest).await.assert_success();
        for path in [LIST, DETAIL] {
            let answer = service.get_from(path, &[("identityId", &identity)]).await;
            assert_eq!(answer.status, 200, "{path}: {:#}", answer.body);
        }
        service.post_to(UNMATCH, pair).await.assert_success();
        let created = service.post_to(CREATE, json!({ "email": "new@example.com" })).await;
        assert_eq!(created.status, 200, "{:#}", created.body);
        service.post_to(LOGOUT, json!({ "identityId": identity })).await.assert_success();
        service.get("/readyz").await.assert_success();
    };
    walk().await;
    apply_later(&service).await;
    walk().await;
}

/// Going back is starting the old binary again.
#[tokio::test]
async fn a_server_starts_on_the_schema_of_a_later_version() {
    let service = Service::start().await;
    apply_later(&service).await;
    run(on(&service.database, &["migrate"]));
    let server = Server::start(on(&service.database, &["serve", "--listen", "127.0.0.1:0"]));
    let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    let answer = server.post(&format!("{MATCH}?apiKey={}", service.key), pair).await;
    assert_eq!(answer, (200, json!({ "success": true })));
    let ready = reqwest::get(format!("{}/readyz", server.url)).await.unwrap();
    assert_eq!(ready.status(), 200);
    server.stop();
}
