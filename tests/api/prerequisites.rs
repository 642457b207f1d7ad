//! A database that cannot be used is rejected before anything is written to it, in one message that says what to type.

use std::process::Command;

use customer_match::db::migration;
use rstest::rstest;
use serde_json::json;
use sqlx::PgConnection;

use crate::support::binary::{Server, on, run, run_refused};
use crate::support::import::import;
use crate::support::{RELATION, Service, TestDatabase, UNMATCH, url};

/// Each reads the database in another way.
const COMMANDS: [&[&str]; 4] = [
    &["migrate"],
    &["serve", "--listen", "127.0.0.1:0", "--migrate"],
    &["config", "check"],
    &["organisation", "list"],
];

async fn execute(connection: &mut PgConnection, sql: &str) {
    if let Err(error) = sqlx::raw_sql(sql).execute(connection).await {
        panic!("{error} in {sql}");
    }
}

/// The tables and extensions of a database but those that every one has.
async fn written(connection: &mut PgConnection) -> Vec<String> {
    let sql = "select relname::text from pg_class where relnamespace = 'public'::regnamespace
               union all select extname::text from pg_extension where extname <> 'plpgsql'";
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}

#[rstest]
#[tokio::test]
async fn another_encoding_than_utf_8(#[values("SQL_ASCII", "LATIN1", "WIN1252")] encoding: &str) {
    let database =
        TestDatabase::create_by(&format!("encoding '{encoding}' locale 'C' template template0")).await;
    for command in COMMANDS {
        assert_eq!(
            run_refused(on(&database, command)),
            format!(
                "error: the database cannot be used: its encoding is {encoding}, and UTF8 is needed, which is chosen when a \
                 database is created: `create database NAME encoding 'UTF8' locale 'C' template template0`\n"
            )
        );
    }
    assert_eq!(written(&mut database.connect().await).await, [""; 0]);
    let as_told = TestDatabase::create_by("encoding 'UTF8' locale 'C' template template0").await;
    run(on(&as_told, &["migrate"]));
}

/// The locale of most databases, in which `a` comes before `B`: references compare byte by byte all the same.
#[tokio::test]
async fn any_locale() {
    let how = "encoding 'UTF8' locale 'C' locale_provider icu icu_locale 'en-US' template template0";
    let database = TestDatabase::create_by(how).await;
    migration::run(&database.options()).await.unwrap();
    let mut service = Service::on(database);
    (service.organisation, service.key) = service.add_organisation("Acme").await;
    let [low, high, third] = ["BCustomer0000001", "aCustomer0000001", "CCustomer0000001"];
    for customer in [low, high, third] {
        service.add_customer(customer, None).await;
    }
    let pair = json!({ "managerCuRefNo": high, "customerCuRefNo": low });
    service.post_match(pair.clone()).await.assert_success();
    let relation = service.get_from(RELATION, &[("managerCuRefNo", high), ("customerCuRefNo", low)]).await;
    assert_eq!(relation.body["relation"]["role"], "customer");
    service.post_to(UNMATCH, pair).await.assert_success();
    let rows = format!(
        "managerCuRefNo,customerCuRefNo,active,notice\n{high},{low},,new\n{high},{third},false,\n{third},{high},,twice\n"
    );
    for more in [&["--dry-run"][..], &[]] {
        let imported = import(&service.database, "match", &rows, more);
        assert_eq!(imported.counts(["created", "reactivated", "rejected"]), [1, 2, 0]);
    }
    assert_eq!(service.relations().await, [format!("{low}<{high} new"), format!("{third}<>{high} twice")]);
}

/// A role without any right, in a database without the extension of a cluster, which makes those that a role may create on every node.
struct Role<'a> {
    database: &'a TestDatabase,
    name: String,
    superuser: PgConnection,
}

impl<'a> Role<'a> {
    async fn create(database: &'a TestDatabase) -> Self {
        let mut superuser = database.connect().await;
        let name = format!("{}_role", database.name());
        execute(&mut superuser, &format!("create role {name} login")).await;
        Self { database, name, superuser }
    }

    fn run(&self, arguments: &[&str]) -> Command {
        let mut command = on(self.database, arguments);
        command.env("DATABASE_URL", url(&self.database.options().username(&self.name)));
        command
    }

    /// `{role}`, `{superuser}` and `{database}` stand for the names.
    async fn execute(&mut self, sql: &str) {
        let sql = sql.replace("{role}", &self.name).replace("{database}", self.database.name());
        let sql = sql.replace("{superuser}", self.database.options().get_username());
        execute(&mut self.superuser, &sql).await;
    }

    async fn drop(mut self) {
        // By name: `to current_user` ends Citus 13.2.0 with a segmentation fault.
        self.execute("reassign owned by {role} to {superuser}; drop owned by {role}; drop role {role}").await;
    }
}

const CREATE_EVERYTHING: &str =
    "grant create on schema public to {role}; grant create on database {database} to {role};";

/// Doing as the message says is enough.
#[rstest]
#[case::no_right("", &["may not create tables in the schema public", "create the extension pg_trgm", "create the extension btree_gin"])]
#[case::no_table("grant create on database {database} to {role}", &["may not create tables in the schema public"])]
#[case::no_extension("grant create on schema public to {role}", &["create the extension pg_trgm", "create the extension btree_gin"])]
#[case::half_of_the_extensions("grant create on schema public to {role}; create extension pg_trgm", &["create the extension btree_gin"])]
#[case::no_schema("alter role {role} in database {database} set search_path = nowhere", &["names no schema that exists"])]
#[case::a_schema_of_others(
    "create schema theirs; alter role {role} in database {database} set search_path = theirs",
    &["names no schema that exists"]
)]
#[case::an_extension_out_of_sight(
    "create schema extensions; create extension pg_trgm schema extensions; grant usage on schema extensions to {role}",
    &["pg_trgm is in the schema extensions, which search_path (\"$user\", public) does not name"]
)]
#[tokio::test]
async fn what_a_role_lacks(#[case] set_up: &str, #[case] expected: &[&str]) {
    let database = TestDatabase::create_by("").await;
    let mut role = Role::create(&database).await;
    role.execute(set_up).await;
    if !set_up.contains("grant create") && !set_up.is_empty() {
        role.execute(CREATE_EVERYTHING).await;
    }
    let before = written(&mut role.superuser).await;
    let said = COMMANDS.map(|command| run_refused(role.run(command)));
    assert!(
        said[0].starts_with("error: the database cannot be used: ") && said[0].lines().count() == 1,
        "{}",
        said[0]
    );
    assert!(said.iter().all(|text| *text == said[0]), "{said:#?}");
    assert_eq!(said[0].split("; ").count(), expected.len(), "{}", said[0]);
    assert!(expected.iter().all(|words| said[0].contains(words)), "{}", said[0]);
    assert_eq!(written(&mut role.superuser).await, before);

    for statement in said[0].split('`').skip(1).step_by(2) {
        role.execute(statement).await;
    }
    run(role.run(&["migrate"]));
    role.drop().await;
}

/// Else `migrate` would create everything a second time.
#[tokio::test]
async fn tables_in_another_schema() {
    let database = TestDatabase::create_by("").await;
    let mut role = Role::create(&database).await;
    role.execute(CREATE_EVERYTHING).await;
    let to_app = "alter role {role} in database {database} set search_path = app";
    role.execute(&format!("create schema app authorization {{role}}; {to_app}")).await;
    run(role.run(&["migrate"]));
    run(role.run(&["organisation", "create", "Acme"]));

    role.execute("alter role {role} in database {database} reset search_path").await;
    for command in COMMANDS {
        let said = run_refused(role.run(command));
        let expected =
            "its tables are in the schema app, and search_path (\"$user\", public) leads elsewhere";
        assert!(said.contains(expected) && said.contains("set search_path = app`"), "{said}");
    }
    role.execute(to_app).await;
    assert!(run(role.run(&["organisation", "list"])).contains("Acme"));
    role.drop().await;
}

/// A role may have less once the schema is there.
#[tokio::test]
async fn nothing_is_demanded_for_migrations_that_are_applied() {
    let database = TestDatabase::create().await;
    let mut role = Role::create(&database).await;
    role.execute("grant select, insert, update, delete on all tables in schema public to {role}").await;
    run(role.run(&["config", "check"]));
    run(role.run(&["organisation", "create", "Acme"]));
    let server = Server::start(role.run(&["serve", "--listen", "127.0.0.1:0"]));
    assert_eq!(reqwest::get(format!("{}/readyz", server.url)).await.unwrap().status(), 200);
    server.stop();
    role.drop().await;
}

/// As on a standby.
#[tokio::test]
async fn a_read_only_database_with_migrations_pending() {
    let database = TestDatabase::create_empty().await;
    let mut superuser = database.connect().await;
    let read_only = format!("alter database {} set default_transaction_read_only = on", database.name());
    execute(&mut superuser, &read_only).await;
    let said = run_refused(on(&database, &["migrate"]));
    assert_eq!(said, "error: the database cannot be used: it is read-only: migrate the primary\n");
}
