//! Postgres rejects new connections: whatever its reason is, it is as unavailable as when it does not run.

use std::fs;

use axum::http::header;
use customer_match::db::migration;
use futures_util::future::join_all;
use private_postgres::PrivatePostgres;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use crate::support::binary::{command, run_refused};
use crate::support::{CUSTOMER, LIST, MANAGER, Service, url};

/// The reason, how it comes about and ends, and what the start of a server says of it. `app` stands for the database and its role.
const REASONS: [(&str, &str, &str, &str); 5] = [
    (
        "28P01",
        "alter role app password 'new'",
        "alter role app password 'old'",
        "check the user and the password in the database URL",
    ),
    (
        "28000",
        "alter role app nologin",
        "alter role app login",
        "check the user and the password in the database URL",
    ),
    (
        "42501",
        "revoke connect on database app from public",
        "grant connect on database app to public",
        "grant connect on database",
    ),
    (
        "55000",
        "alter database app allow_connections false",
        "alter database app allow_connections true",
        "allow_connections true",
    ),
    (
        "3D000",
        "alter database app allow_connections false; select pg_terminate_backend(pid) from pg_stat_activity where datname = 'app';
         alter database app rename to app_elsewhere",
        "alter database app_elsewhere rename to app; alter database app allow_connections true",
        "correct its name in the database URL",
    ),
];

/// `app` in the SQL is replaced by this name.
async fn execute(options: &PgConnectOptions, sql: &str, name: &str) {
    let mut connection = PgConnection::connect_with(options).await.unwrap();
    // One after the other: a database is not renamed in a transaction with others.
    for statement in sql.replace("app", name).split(';') {
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// A database and a role of this name, with the password `old`.
async fn with_a_password(postgres: &PrivatePostgres, name: &str) -> PgConnectOptions {
    let superuser = postgres.connect_options();
    execute(&superuser, "create role app login password 'old'; create database app", name).await;
    let app = superuser.database(name);
    migration::run(&app).await.unwrap();
    execute(&app, "grant all on all tables in schema public to app", name).await;
    app.username(name).password("old")
}

async fn demand_passwords(postgres: &PrivatePostgres, roles: &[String], app: &PgConnectOptions) {
    let rules = postgres.data_dir().join("postgres/data/pg_hba.conf");
    let others = fs::read_to_string(&rules).unwrap();
    // Plainly, as a debug build hashes a password for longer than a connection may take.
    fs::write(&rules, format!("local all {} password\n{others}", roles.join(","))).unwrap();
    execute(&postgres.connect_options(), "select pg_reload_conf()", "").await;
    while PgConnection::connect_with(&app.clone().password("wrong")).await.is_ok() {}
}

#[tokio::test]
async fn every_call_and_readiness_are_503_until_it_accepts_them_again() {
    let postgres = PrivatePostgres::start_throw_away().await.unwrap();
    let names = REASONS.map(|(reason, ..)| format!("app_{}", reason.to_lowercase()));
    let mut services = Vec::new();
    for name in &names {
        let app = with_a_password(&postgres, name).await;
        services.push((Service::start_elsewhere(app.clone()).await, app));
    }
    demand_passwords(&postgres, &names, &services[0].1).await;

    let superuser = postgres.connect_options();
    let reasons = REASONS.iter().zip(&names).zip(&services);
    join_all(reasons.map(async |(((reason, begin, end, remedy), name), ((service, _proxy), app))| {
        let calls = async || {
            let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
            let manager = [("cuRefNo", MANAGER)];
            let (ready, matched, list, ping) = futures_util::join!(
                service.get("/readyz"),
                service.post_match(pair),
                service.get_from(LIST, &manager),
                service.get_from("/ping/v1", &[]),
            );
            [ready, matched, list, ping]
        };
        assert_eq!(calls().await.map(|answer| answer.status), [200; 4]);
        execute(&superuser, begin, name).await;
        let end_sessions = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'";
        execute(&superuser, end_sessions, name).await;
        let error = PgConnection::connect_with(app).await.unwrap_err();
        assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some(*reason));
        for answer in calls().await {
            answer.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
            assert_eq!(answer.headers[header::RETRY_AFTER], "1", "{reason}");
        }
        for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["organisation", "list"]] {
            let mut command = command(arguments);
            command.env("DATABASE_URL", url(app));
            let said = tokio::task::spawn_blocking(|| run_refused(command)).await.unwrap();
            assert!(said.starts_with("error: the database cannot be reached; "), "{said}");
            assert!(said.contains(remedy) && said.lines().count() == 1, "{said}");
        }
        execute(&superuser, end, name).await;
        // Until then: a key whose state is older than ten seconds by now is read again first.
        while calls().await.map(|answer| answer.status) != [200; 4] {}
    }))
    .await;
    postgres.stop().await.unwrap();
}
