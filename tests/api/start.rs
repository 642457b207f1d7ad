//! How a server starts: the sample key, and what is in its environment.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use customer_match::config::Config;
use customer_match::demo;
use rstest::rstest;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::support::binary::{Server, command, run};
use crate::support::{CUSTOMER, DETAIL, LOGOUT, MANAGER, MATCH, Service};

const SAMPLE: &str = "PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE";
const IDENTITY: &str = "0jSodqYxBs98PaIAcIbs5FyMEJTsJ6DA";

/// `serve` on a private Postgres, which any user that runs it can reach.
fn serve(dir: &TempDir, flags: &[&str]) -> Command {
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let data = dir.path().join("data");
    command(&[&["serve", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()], flags].concat())
}

async fn accepts_the_sample_key(server: &Server) -> bool {
    match reqwest::get(format!("{}/ping/v1?apiKey={SAMPLE}", server.url)).await.unwrap().status().as_u16() {
        200 => true,
        404 => false,
        status => panic!("{status}"),
    }
}

#[rstest]
#[case::ipv4("127.0.0.1:8080", &[], true)]
#[case::another_of_the_loopback_network("127.0.0.2:8080", &[], true)]
#[case::ipv6("[::1]:8080", &[], true)]
#[case::mapped("[::ffff:127.0.0.1]:8080", &[], true)]
#[case::everywhere("0.0.0.0:8080", &[], false)]
#[case::everywhere_ipv6("[::]:8080", &[], false)]
#[case::private_network("10.0.0.1:8080", &[], false)]
#[case::behind_a_proxy("127.0.0.1:8080", &["--trusted-proxy", "127.0.0.1"], false)]
fn demo_is_the_default_on_the_private_postgres_of_a_local_server(
    #[case] address: &str,
    #[case] flags: &[&str],
    #[case] only_local: bool,
) {
    let with = |more: &[&str]| {
        let config = Config::from_flags(&[flags, more].concat()).unwrap();
        let only_local = config.is_only_local(address.parse().unwrap());
        [true, false].map(|private| config.start.demo(private, only_local))
    };
    assert_eq!(with(&[]), [only_local, false]);
    assert!(with(&["--demo"])[0]);
    assert_eq!(with(&["--no-demo"]), [false; 2]);
    assert_eq!(with(&["--demo=false"]), [false; 2]);
}

#[tokio::test]
async fn where_others_reach_the_server_the_sample_key_must_be_asked_for() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(serve(&dir, &[]));
    assert!(accepts_the_sample_key(&server).await);
    server.stop();

    let through_a_proxy = ["--trusted-proxy", "127.0.0.1"];
    let server = Server::start(serve(&dir, &through_a_proxy));
    assert!(!accepts_the_sample_key(&server).await, "also one that has been in demo mode");
    let printed = server.stop();
    assert!(printed.contains("the sample key is rejected") && !printed.contains("curl"), "{printed}");

    let mut asked_for = serve(&dir, &[&through_a_proxy[..], &["--demo"]].concat()).spawn().unwrap();
    let log = BufReader::new(asked_for.stderr.take().unwrap());
    let server = Server::adopt(asked_for);
    assert!(accepts_the_sample_key(&server).await);
    let warning = log.lines().map(Result::unwrap).find(|line| line.contains("publicly known sample key"));
    assert!(warning.unwrap().contains("WARN"));
    let printed = server.stop();
    assert!(printed.contains("DEMO MODE, AND OTHERS CAN REACH THIS SERVER"), "{printed}");
}

/// A visitor of a demo server may log the customer of the examples out.
#[tokio::test]
async fn the_sample_identity_is_logged_in_again_at_each_start() {
    let detail = async |service: &Service| {
        service.get(&format!("{DETAIL}?apiKey={SAMPLE}&identityId={IDENTITY}")).await.status
    };
    let service = Service::start_in_demo_mode().await;
    demo::set_up(&service.pool).await.unwrap();
    assert_eq!(detail(&service).await, 200);
    let log_out = json!({ "identityId": IDENTITY });
    service.post(&format!("{LOGOUT}?apiKey={SAMPLE}"), log_out).await.assert_success();
    assert_eq!(detail(&service).await, 401);
    let service = service.restarted_in_demo_mode();
    demo::set_up(&service.pool).await.unwrap();
    assert_eq!(detail(&service).await, 200);
    service
        .execute("update customer_identity set created_at = '2020-01-01', expires_at = '2020-04-01'")
        .await;
    assert_eq!(detail(&service).await, 401);
    let service = service.restarted_in_demo_mode();
    demo::set_up(&service.pool).await.unwrap();
    assert_eq!(detail(&service).await, 200);
}

/// As by `kill -9`, or by a service manager that is impatient.
#[rstest]
#[tokio::test]
async fn after_a_first_start_that_was_killed_while_it_migrated_the_next_one_works(
    #[values("_sqlx_migrations", "customer_match", "write_receipt")] table: &str,
) {
    let dir = TempDir::new().unwrap();
    let mut first = serve(&dir, &[]).spawn().unwrap();
    let sockets = dir.path().join("data/postgres");
    let options = PgConnectOptions::new().socket(&sockets).port(5432).username("customer_match");
    let options = options.database("customer_match");
    let exists = format!("select to_regclass('{table}') is not null");
    let is_so_far = async || {
        let mut connection = PgConnection::connect_with(&options).await?;
        sqlx::query_scalar::<_, bool>(&exists).fetch_one(&mut connection).await
    };
    while !is_so_far().await.unwrap_or(false) {
        assert_eq!(first.try_wait().unwrap(), None, "the server has ended");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let server = Server::start(serve(&dir, &[]));
    let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    let answer = server.post(&format!("{MATCH}?apiKey={SAMPLE}"), pair).await;
    assert_eq!(answer, (200, json!({ "success": true })));
    server.stop();
}

/// They are meant for another database.
#[tokio::test]
async fn variables_of_libpq_do_not_reach_the_private_postgres() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let variables = [
        ("PGOPTIONS", "-c nonsense=1 -c default_transaction_read_only=on"),
        ("PGHOST", "nowhere.invalid"),
        ("PGPORT", "1"),
        ("PGUSER", "other"),
        ("PGPASSWORD", "secret"),
        ("PGDATABASE", "nothing"),
        ("PGAPPNAME", "psql"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/nowhere"),
    ];
    let mut serve = serve(&dir, &[]);
    serve.envs(variables);
    let server = Server::start(serve);
    let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    let answer = server.post(&format!("{MATCH}?apiKey={SAMPLE}"), pair).await;
    assert_eq!(answer, (200, json!({ "success": true })));
    let mut list = command(&["organisation", "list", "--data-dir", data.to_str().unwrap()]);
    list.envs(variables);
    assert!(run(list).contains("Demo"));
    server.stop();
}
