//! `--replica-database-url`: a standby answers reads, and nothing that was acknowledged is missing in its answers.

use std::cell::Cell;
use std::fs::File;
use std::process::Command;
use std::time::Duration;

use customer_match::db::{Layout, migration};
use customer_match::read_replica::ReadReplica;
use futures_util::future::join_all;
use private_postgres::PrivatePostgres;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tempfile::NamedTempFile;

use crate::match_changes::Reader;
use crate::support::binary::{Server, command, run, run_json, run_refused};
use crate::support::{
    Answer, CHANGES, CUSTOMER, CUSTOMER_LIST, DETAIL, LIST, MANAGER, Mode, Proxy, RELATION, Service, Standby,
    TestDatabase, kill, url,
};

/// Not of the tests' own, which may be a cluster: there is no replica of one.
async fn migrated() -> PrivatePostgres {
    let postgres = PrivatePostgres::start_throw_away().await.unwrap();
    migration::run(&postgres.connect_options()).await.unwrap();
    postgres
}

/// A primary, and a standby that its commits do not wait for.
struct Pair {
    primary: PrivatePostgres,
    standby: Standby,
}

impl Pair {
    async fn start() -> Self {
        let primary = migrated().await;
        let standby = Standby::of(&primary.connect_options()).await;
        standby.lag_behind(&primary.connect_options()).await;
        Self { primary, standby }
    }

    /// A server that uses the standby already.
    async fn serve(&self, flags: &[&str]) -> Service {
        self.serve_by(self.standby.connect_options(), flags).await
    }

    async fn serve_by(&self, standby: PgConnectOptions, flags: &[&str]) -> Service {
        let service = Service::start_with_standby(self.primary.connect_options(), standby, flags).await;
        until_in_use(&service, true).await;
        service
    }
}

async fn until_in_use(service: &Service, in_use: bool) {
    let wanted = format!("customer_match_replica_in_use {}", u8::from(in_use));
    while service.samples(&["replica_in_use"]).await != [wanted.as_str()] {
        tokio::task::yield_now().await;
    }
}

/// How many reads each of the two has answered.
async fn reads(service: &Service) -> [u64; 2] {
    let samples = service.samples(&["replica_reads_total"]).await;
    ["replica", "primary"].map(|server| {
        let series = format!("customer_match_replica_reads_total{{answered_by=\"{server}\"}} ");
        samples.iter().find_map(|sample| sample.strip_prefix(&series)).unwrap().parse().unwrap()
    })
}

async fn matches(service: &Service, manager: &str, email: &str) {
    service.post_match(json!({ "managerCuRefNo": manager, "customerEmail": email })).await.assert_success();
}

async fn list(service: &Service, parameters: &[(&str, &str)]) -> Answer {
    let answer = service.get_from(LIST, &[&[("cuRefNo", MANAGER)], parameters].concat()).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    answer
}

fn emails(answer: &Answer) -> Vec<&str> {
    let items = answer.body["items"].as_array().unwrap();
    items.iter().map(|item| item["email"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn lists_by_reference_and_changes_are_read_there_and_nothing_else_is() {
    let pair = Pair::start().await;
    let service = pair.serve(&["--max-replica-lag", "2s"]).await;
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }))
        .await
        .assert_success();
    let identity = service.log_in("jan@barasek.com").await;
    let by_reference = [("cuRefNo", MANAGER)];
    let on_primary = [
        (LIST, &[("identityId", &*identity)][..]),
        (DETAIL, &by_reference),
        (RELATION, &[("managerCuRefNo", MANAGER), ("customerCuRefNo", CUSTOMER)]),
    ];
    for (path, parameters) in on_primary {
        assert_eq!(service.get_from(path, parameters).await.status, 200, "{path}");
    }
    assert_eq!(reads(&service).await, [0, 0]);

    // One after the other, so that each must wait for what was written just before.
    let on_replica = [
        (LIST, &by_reference[..], "items"),
        (LIST, &[("cuRefNo", MANAGER), ("query", "barasek")], "items"),
        (CUSTOMER_LIST, &[], "items"),
        (CUSTOMER_LIST, &[("query", "barasek")], "items"),
        (CHANGES, &[], "items"),
    ];
    for (number, (path, parameters, items)) in (1..).zip(on_replica) {
        matches(&service, CUSTOMER, &format!("{number}@example.com")).await;
        let answer = service.get_from(path, parameters).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_ne!(answer.body[items], json!([]), "{path}");
        assert_eq!(reads(&service).await, [number, 0], "{path}");
    }
    let unknown = service.get_from(LIST, &[("cuRefNo", "unknownCustomer0")]).await;
    unknown.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    assert_eq!(reads(&service).await, [6, 0]);
}

/// Each write is acknowledged by one server and read by way of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_read_on_every_server() {
    const ROUNDS: usize = 25;
    let pair = Pair::start().await;
    let flags = ["--max-replica-lag", "2s"];
    let first = pair.serve(&flags).await;
    let second = first.beside(pair.standby.connect_options(), &flags).await;
    until_in_use(&second, true).await;
    let client = async |number: usize| {
        let manager = format!("manager{number:09}");
        first.add_customer(&manager, None).await;
        for round in 0..ROUNDS {
            let (writer, reader) = if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
            let email = format!("{number}-{round}@example.com");
            matches(writer, &manager, &email).await;
            let list = reader.get_from(LIST, &[("cuRefNo", &manager), ("limit", "1")]).await;
            assert_eq!(emails(&list), [&email], "{:#}", list.body);
            assert_eq!(list.body["itemCount"], round + 1);
            let found = reader.get_from(CUSTOMER_LIST, &[("query", &email)]).await;
            assert_eq!(emails(&found), [&email], "{:#}", found.body);
        }
    };
    join_all((0..6).map(client)).await;
    for server in [&first, &second] {
        let [on_replica, on_primary] = reads(server).await;
        assert!(on_replica > on_primary, "{on_replica} {on_primary}");
    }
}

#[tokio::test]
async fn a_replica_that_lags_is_left_out_and_comes_back() {
    let pair = Pair::start().await;
    let service = pair.serve(&[]).await;
    for number in 0..3 {
        matches(&service, MANAGER, &format!("{number}@example.com")).await;
    }
    let first = list(&service, &[("limit", "2")]).await;
    assert_eq!(emails(&first), ["2@example.com", "1@example.com"]);

    // Also what is acknowledged before it is known that the replay stands still.
    pair.standby.execute("select pg_wal_replay_pause()").await;
    for number in 3..6 {
        let email = format!("{number}@example.com");
        matches(&service, MANAGER, &email).await;
        assert_eq!(emails(&list(&service, &[("limit", "1")]).await), [&email]);
    }
    until_in_use(&service, false).await;
    let lag = service.samples(&["replica_lag_seconds"]).await;
    let (_, lag) = lag[0].split_once(' ').unwrap();
    assert!(lag.parse::<f64>().unwrap() > 0.1, "{lag}");
    let before = reads(&service).await;
    let cursor = first.body["nextCursor"].as_str().unwrap();
    assert_eq!(emails(&list(&service, &[("cursor", cursor)]).await), ["0@example.com"]);
    assert_eq!(reads(&service).await, [before[0], before[1] + 1]);
    let ready = service.get("/readyz").await;
    assert_eq!(ready.status, 200);

    pair.standby.execute("select pg_wal_replay_resume()").await;
    until_in_use(&service, true).await;
    // The cursor of a page that the primary has answered.
    let newest = list(&service, &[("limit", "1")]).await;
    let cursor = newest.body["nextCursor"].as_str().unwrap();
    assert_eq!(emails(&list(&service, &[("cursor", cursor), ("limit", "1")]).await), ["4@example.com"]);
}

/// With transactions that commit out of order, while the replay stands still again and again and the primary answers meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_changes_misses_nothing_on_either_server() {
    const WRITERS: usize = 3;
    const ROUNDS: usize = 40;
    let pair = Pair::start().await;
    let service = pair.serve(&["--max-replica-lag", "10ms"]).await;
    for i in 0..8 {
        service.add_customer(&format!("customer{i:08}"), None).await;
    }
    let writer = async |number: usize| {
        let mut db = PgConnection::connect_with(&pair.primary.connect_options()).await.unwrap();
        // Visible before it is flushed.
        let commit = if number == 0 { "off" } else { "on" };
        sqlx::raw_sql(&format!("set synchronous_commit = {commit}")).execute(&mut db).await.unwrap();
        for round in 0..ROUNDS {
            let other = 4 + (number + round) % 4;
            let statement = format!(
                "begin;
                 insert into customer_match as m (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager,
                                                  notice, created_at, matched_at, updated_at)
                 values (1, 'customer{number:08}', 'customer{other:08}', true, false, '{number}.{round}', now(), now(), now())
                 on conflict (organisation_id, low_cu_ref_no, high_cu_ref_no) do update set
                     notice = excluded.notice, version = m.version + 1, changed_in = excluded.changed_in"
            );
            sqlx::raw_sql(&statement).execute(&mut db).await.unwrap();
            for _ in 0..(round * 7 + number * 13) % 29 {
                tokio::task::yield_now().await;
            }
            sqlx::raw_sql("commit").execute(&mut db).await.unwrap();
        }
        // Flushes what was committed before. A transaction that has logged nothing would not.
        sqlx::raw_sql("set synchronous_commit = on; select pg_logical_emit_message(true, '', '')")
            .execute(&mut db)
            .await
            .unwrap();
    };
    let over = Cell::new(false);
    let operator = async {
        while !over.get() {
            pair.standby.execute("select pg_wal_replay_pause()").await;
            pair.standby.execute("select pg_wal_replay_resume()").await;
            until_in_use(&service, true).await;
        }
    };
    let reader = async |limit| {
        let mut reader = Reader::new(&service);
        reader.limit = limit;
        while !over.get() {
            reader.page().await;
        }
        reader.assert_complete().await;
    };
    let writers = async {
        join_all((0..WRITERS).map(writer)).await;
        over.set(true);
    };
    futures_util::join!(writers, operator, reader("1"), reader("3"), reader("500"));
    let [on_replica, _] = reads(&service).await;
    assert!(on_replica > 0);
}

#[derive(Clone, Copy)]
enum End {
    Killed,
    Promoted,
    Silent,
}

#[rstest]
#[case::killed(End::Killed)]
#[case::promoted(End::Promoted)]
#[case::silent(End::Silent)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_with_the_replica(#[case] end: End) {
    let pair = Pair::start().await;
    let proxy = Proxy::before(pair.standby.connect_options());
    let service = pair.serve_by(proxy.options(pair.standby.connect_options()), &[]).await;
    let acknowledged = Cell::new(0);
    let over = Cell::new(false);
    let client = async {
        while !over.get() {
            let number = acknowledged.get() + 1;
            matches(&service, MANAGER, &format!("{number}@example.com")).await;
            acknowledged.set(number);
            let list = list(&service, &[("limit", "1")]).await;
            assert_eq!(list.body["itemCount"], number);
            let changes = service.get_from(CHANGES, &[("limit", "500")]).await;
            assert_eq!(changes.status, 200, "{:#}", changes.body);
        }
    };
    let operator = async {
        while acknowledged.get() < 5 {
            tokio::task::yield_now().await;
        }
        match end {
            End::Killed => kill(&pair.standby.connect_options()).await.unwrap(),
            End::Promoted => drop(pair.standby.promote().await),
            End::Silent => proxy.set(Mode::Swallow),
        }
        until_in_use(&service, false).await;
        let so_far = acknowledged.get();
        while acknowledged.get() < so_far + 5 {
            tokio::task::yield_now().await;
        }
        over.set(true);
    };
    futures_util::join!(client, operator);
}

/// Replay ends a statement that it would wait for.
#[tokio::test]
async fn a_conflict_with_the_replay_is_left_to_the_primary() {
    let pair = Pair::start().await;
    let (primary, standby) = (pair.primary.connect_options(), pair.standby.connect_options());
    pair.standby.execute("alter system set max_standby_streaming_delay = 0").await;
    pair.standby.execute("select pg_reload_conf()").await;
    let replica = ReadReplica::start(primary.clone(), standby.clone(), 4, Duration::from_secs(2));
    while !replica.is_in_use() {
        tokio::task::yield_now().await;
    }
    let read = replica.read(1, async |db| {
        sqlx::raw_sql("begin; select from customer").execute(&mut *db).await?;
        let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *db).await?;
        let lock = async {
            let mut direct = PgConnection::connect_with(&standby).await.unwrap();
            let sleeps = format!("select wait_event = 'PgSleep' from pg_stat_activity where pid = {pid}");
            while sqlx::query_scalar::<_, Option<bool>>(&sleeps).fetch_one(&mut direct).await.unwrap()
                != Some(true)
            {}
            let mut direct = PgConnection::connect_with(&primary).await.unwrap();
            sqlx::raw_sql("begin; lock table customer; commit").execute(&mut direct).await.unwrap();
        };
        let (slept, ()) = tokio::join!(sqlx::raw_sql("select pg_sleep(600)").execute(db), lock);
        let error = slept.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "40001", "{error}");
        Err::<(), _>(error)
    });
    assert_eq!(read.await, None);
    assert!(replica.is_in_use());
    assert_eq!(replica.read(1, async |_| Ok(1)).await, Some(1));
}

/// `serve` and `config check` with this replica, on this database.
fn with_replica(database: &str, replica: &str) -> [Command; 2] {
    let flags = ["--replica-database-url", replica];
    [&["serve", "--listen", "127.0.0.1:0"][..], &["config", "check"]].map(|subcommand| {
        let mut command = command(&[subcommand, &flags].concat());
        command.env("DATABASE_URL", database).env("CUSTOMER_MATCH_ALLOW_DATA_LOSS", "true");
        command
    })
}

#[rstest]
#[case::another_database("")]
#[case::another_schema("options=-c%20search_path%3Dpg_catalog")]
#[tokio::test]
async fn what_is_no_standby_of_the_database_is_rejected(#[case] options: &str) {
    let postgres = migrated().await;
    let database = url(&postgres.connect_options());
    let replica = if options.is_empty() {
        let mut direct = PgConnection::connect_with(&postgres.connect_options()).await.unwrap();
        sqlx::raw_sql("create database other").execute(&mut direct).await.unwrap();
        let other = postgres.connect_options().database("other");
        migration::run(&other).await.unwrap();
        url(&other)
    } else {
        format!("{database}&{options}")
    };
    for command in with_replica(&database, &replica) {
        let said = run_refused(command);
        assert!(said.contains("error: --replica-database-url names no standby of the database"), "{said}");
    }
    let [_, check] = with_replica(&database, "postgres://nobody@/nothing?host=/no/such/dir");
    let said = run(check);
    assert!(said.starts_with("The settings are valid. The replica was not checked: "), "{said}");
}

/// After a fail-over both URLs may lead to the new primary.
#[tokio::test]
async fn a_replica_that_is_the_database_itself_is_accepted_and_left_out() {
    let postgres = migrated().await;
    let database = url(&postgres.connect_options());
    let [serve, mut check] = with_replica(&database, &database);
    check.args(["--format", "json"]);
    let expected = json!({ "valid": true, "databaseChecked": true, "replicaChecked": true });
    assert_eq!(run_json(check), expected);
    Server::start(serve).stop();
}

#[tokio::test]
async fn a_distributed_database_has_no_replica() {
    let database = TestDatabase::create().await;
    if database.layout() == Layout::Single {
        // As the extension has it.
        let catalogue = "set allow_system_table_mods = on;
            create table pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod \"char\");
            insert into pg_catalog.pg_dist_partition values ('customer', 'h')";
        sqlx::raw_sql(catalogue).execute(&mut database.connect().await).await.unwrap();
    }
    for command in with_replica(&database.url(), &database.url()) {
        let said = run_refused(command);
        assert!(said.contains("distributed over workers"), "{said}");
    }
}

#[tokio::test]
async fn the_log_tells_when_the_replica_is_used() {
    let pair = Pair::start().await;
    let log = NamedTempFile::new().unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut serve = command(&[&["serve", "--max-replica-lag", "2s"], &listen[..]].concat());
    serve.env("DATABASE_URL", url(&pair.primary.connect_options()));
    serve.env("CUSTOMER_MATCH_REPLICA_DATABASE_URL", url(&pair.standby.connect_options()));
    serve.env("CUSTOMER_MATCH_ALLOW_DATA_LOSS", "true");
    serve.stderr(File::create(log.path()).unwrap());
    let mut server = Server::start(serve);
    let metrics = format!("http://{}/metrics", server.admin_address());
    let until = async |in_use: &str| {
        let sample = format!("customer_match_replica_in_use {in_use}\n");
        while !reqwest::get(&metrics).await.unwrap().text().await.unwrap().contains(&sample) {}
    };
    until("1").await;
    pair.standby.execute("select pg_wal_replay_pause()").await;
    let mut direct = PgConnection::connect_with(&pair.primary.connect_options()).await.unwrap();
    sqlx::raw_sql("create table anything ()").execute(&mut direct).await.unwrap();
    until("0").await;
    pair.standby.execute("select pg_wal_replay_resume()").await;
    until("1").await;
    server.stop();
    let log = std::fs::read_to_string(log.path()).unwrap();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let started = events.iter().find(|event| event["message"] == "server started").unwrap();
    assert!(started["replica"].as_str().unwrap().starts_with("postgres://"), "{log}");
    let told: Vec<_> = events
        .iter()
        .filter(|event| event["target"] == "customer_match::read_replica")
        .map(|event| ["level", "message", "reason"].map(|member| event[member].as_str().unwrap_or_default()))
        .collect();
    let in_use = ["INFO", "the read replica is in use", ""];
    let lags = ["WARN", "the read replica is not in use; the primary answers", "its replay lags"];
    assert_eq!(told, [in_use, lags, in_use]);
}
