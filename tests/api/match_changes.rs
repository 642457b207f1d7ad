//! `GET /api/v1/customer/match-changes`: a reader that follows the cursor knows at each moment what the table held a moment ago.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use customer_match::db::customer_merge::{self, Merge};
use customer_match::db::{Layout, migration};
use customer_match::domain::{ChangeCursor, CuRefNo, CursorKey};
use futures_util::FutureExt;
use private_postgres::PrivatePostgres;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use crate::support::import::import;
use crate::support::{
    Answer, CHANGES, CUSTOMER, LIST, MANAGER, Service, Standby, TestDatabase, UNMATCH, skip, uri,
};

const OTHER: &str = "otherCustomer001";
const LEGACY: &str = "legacyCustomer01";

/// A client that has read some of the changes.
pub struct Reader<'a> {
    service: &'a Service,
    key: &'a str,
    pub limit: &'static str,
    pub cursor: Option<String>,
    /// The last state of each pair, as [`Service::relations`] writes it.
    seen: BTreeMap<[String; 2], String>,
}

impl<'a> Reader<'a> {
    pub fn new(service: &'a Service) -> Self {
        Self { service, key: &service.key, limit: "500", cursor: None, seen: BTreeMap::new() }
    }

    pub async fn page(&mut self) -> Value {
        let mut parameters = vec![("limit", self.limit)];
        parameters.extend(self.cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let answer = self.service.get(&uri(CHANGES, self.key, &parameters)).await;
        assert_eq!(answer.status, 200, "{:#}", answer.body);
        self.take(&answer.body);
        answer.body
    }

    pub fn take(&mut self, page: &Value) {
        self.cursor = Some(page["nextCursor"].as_str().unwrap().into());
        for item in page["items"].as_array().unwrap() {
            let (pair, text) = in_words(item);
            self.seen.insert(pair, text);
        }
    }

    /// The pages that are there; what has come, in its order.
    async fn pages(&mut self) -> Vec<String> {
        let mut changes = Vec::new();
        loop {
            let page = self.page().await;
            changes.extend(page["items"].as_array().unwrap().iter().map(|item| in_words(item).1));
            if page["more"] == false {
                return changes;
            }
            assert_ne!(page["items"], json!([]));
        }
    }

    /// On a cluster the first call numbers the relations of an organisation, perhaps for longer than it lasts.
    async fn until_numbered(&self) {
        while self.service.get(&uri(CHANGES, self.key, &[("limit", "1")])).await.status == 503 {}
    }

    /// What has come since, once nothing holds it back. Other tests write to the same Postgres.
    pub async fn changes(&mut self) -> Vec<String> {
        if self.service.database.layout() == Layout::Distributed {
            self.until_numbered().await;
        }
        let mut db = self.service.pool.acquire().await.unwrap();
        all_ended(&mut db).await;
        drop(db);
        self.pages().await
    }

    /// Every relation, as the table has it.
    pub async fn assert_complete(&mut self) {
        self.changes().await;
        assert_eq!(self.seen.values().cloned().collect::<Vec<_>>(), self.service.relations().await);
    }
}

/// Until every transaction has ended that has begun on the node of organisation 1.
pub async fn all_ended(db: &mut PgConnection) {
    let next = "select pg_snapshot_xmax(snapshot_of(organisation_id))::text::int8 from customer where organisation_id = 1 limit 1";
    let begun: i64 = sqlx::query_scalar(next).fetch_one(&mut *db).await.unwrap();
    let first_running = "select pg_snapshot_xmin(snapshot_of(organisation_id))::text::int8 from customer where organisation_id = 1 limit 1";
    while sqlx::query_scalar::<_, i64>(first_running).fetch_one(&mut *db).await.unwrap() < begun {}
}

/// The pair in its order, and the relation as [`Service::relations`] has it.
fn in_words(item: &Value) -> ([String; 2], String) {
    let [manager, customer] =
        ["managerCuRefNo", "customerCuRefNo"].map(|name| item[name].as_str().unwrap().to_owned());
    let notice = item["notice"].as_str().map(|notice| format!(" {notice}")).unwrap_or_default();
    let state = if item["active"] == true { "" } else { " (inactive)" };
    assert_eq!(item["endedAt"].is_null(), item["active"] == true, "{item:#}");
    let both = item["role"] == "both";
    assert!(both || item["role"] == "customer", "{item:#}");
    assert!(!both || manager < customer, "{item:#}");
    let sign = if both {
        "<>"
    } else if manager < customer {
        ">"
    } else {
        "<"
    };
    let mut pair = [manager, customer];
    pair.sort();
    let text = format!("{}{sign}{}{notice}{state}", pair[0], pair[1]);
    (pair, text)
}

pub async fn relate(service: &Service, manager: &str, customer: &str, notice: &str) {
    let body = json!({ "managerCuRefNo": manager, "customerCuRefNo": customer, "notice": notice });
    service.post_match(body).await.assert_success();
}

#[tokio::test]
async fn each_operation_is_seen() {
    let service = Service::start().await;
    let mut reader = Reader::new(&service);
    assert_eq!(reader.changes().await, [""; 0]);
    assert_eq!(reader.changes().await, [""; 0], "from the cursor of an empty page");

    relate(&service, MANAGER, CUSTOMER, "a").await;
    assert_eq!(reader.changes().await, [format!("{MANAGER}>{CUSTOMER} a")]);
    relate(&service, MANAGER, CUSTOMER, "b").await;
    assert_eq!(reader.changes().await, [format!("{MANAGER}>{CUSTOMER} b")]);
    relate(&service, MANAGER, CUSTOMER, "b").await;
    assert_eq!(reader.changes().await, [""; 0], "nothing changed");
    relate(&service, CUSTOMER, MANAGER, "b").await;
    assert_eq!(reader.changes().await, [format!("{MANAGER}<>{CUSTOMER} b")]);
    let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    service.post_to(UNMATCH, pair.clone()).await.assert_success();
    assert_eq!(reader.changes().await, [format!("{MANAGER}<>{CUSTOMER} b (inactive)")]);
    service.post_to(UNMATCH, pair.clone()).await.assert_success();
    assert_eq!(reader.changes().await, [""; 0], "it had ended");
    service.post_match(pair).await.assert_success();
    assert_eq!(reader.changes().await, [format!("{MANAGER}<>{CUSTOMER} b")]);

    let rows = format!("managerCuRefNo,customerCuRefNo,notice\n{MANAGER},{CUSTOMER},imported\n");
    assert_eq!(import(&service.database, "match", rows, &[]).code, 0);
    assert_eq!(reader.changes().await, [format!("{MANAGER}<>{CUSTOMER} imported")]);

    service.add_customer(OTHER, None).await;
    relate(&service, OTHER, CUSTOMER, "").await;
    service.delete_customer(CUSTOMER).await;
    assert_eq!(
        reader.changes().await,
        [format!("{MANAGER}<>{CUSTOMER} imported (inactive)"), format!("{CUSTOMER}<{OTHER} (inactive)"),]
    );
    reader.assert_complete().await;
    let mut from_the_start = Reader::new(&service);
    from_the_start.assert_complete().await;
}

pub async fn merge(service: &Service, legacy: &str, survivor: &str) -> customer_merge::Merged {
    let (legacy, survivor) = (CuRefNo::parse(legacy).unwrap(), CuRefNo::parse(survivor).unwrap());
    let wanted = Merge { organisation_id: service.organisation, legacy: &legacy, survivor: &survivor };
    customer_merge::merge(&service.pool, wanted).await.unwrap()
}

/// What was the legacy customer's has ended, and what is the survivor's has changed; the notice is in one place.
#[tokio::test]
async fn a_merge_loses_no_relation() {
    let service = Service::start().await;
    for customer in [OTHER, LEGACY] {
        service.add_customer(customer, None).await;
    }
    relate(&service, LEGACY, MANAGER, "moves").await;
    relate(&service, LEGACY, CUSTOMER, "joins").await;
    relate(&service, OTHER, CUSTOMER, "is joined").await;
    relate(&service, LEGACY, OTHER, "self").await;
    let mut reader = Reader::new(&service);
    reader.changes().await;
    merge(&service, LEGACY, OTHER).await;
    assert_eq!(
        reader.changes().await,
        [
            format!("{MANAGER}<{LEGACY} (inactive)"),
            format!("{MANAGER}<{OTHER} moves"),
            format!("{CUSTOMER}<{LEGACY} (inactive)"),
            format!("{CUSTOMER}<{OTHER} is joined\n\njoins"),
            format!("{LEGACY}>{OTHER} self (inactive)"),
        ]
    );
    reader.assert_complete().await;

    // What ended with the first merge stays with it.
    let last = "lastCustomer0001";
    service.add_customer(last, None).await;
    let merged = merge(&service, OTHER, last).await;
    assert_eq!((merged.relations, merged.self_relation), (2, false));
    reader.assert_complete().await;
    assert_eq!(service.relations().await.iter().filter(|relation| relation.contains(LEGACY)).count(), 3);
}

#[rstest]
#[case("1")]
#[case("2")]
#[case("3")]
#[case("500")]
#[tokio::test]
async fn pages_meet_without_a_gap(#[case] limit: &'static str) {
    let service = Service::start().await;
    for hub in ["hubIsDeleted0001", "hubStays00000001"] {
        service.add_customer(hub, None).await;
        for i in 0..4 {
            let (low, high) = (format!("a{}{i:011}", &hub[..4]), format!("z{}{i:011}", &hub[..4]));
            service.add_customer(&low, None).await;
            service.add_customer(&high, None).await;
            relate(&service, &low, hub, "").await;
            relate(&service, hub, &high, "").await;
        }
    }
    // Changes of one transaction, and of several.
    service.delete_customer("hubIsDeleted0001").await;
    let mut reader = Reader { limit, ..Reader::new(&service) };
    let changes = reader.changes().await;
    assert_eq!(changes.len(), 16, "each relation once: {changes:?}");
    reader.assert_complete().await;
}

#[tokio::test]
async fn a_page_ends_at_a_megabyte() {
    let service = Service::start().await;
    service.add_a_list_of_long_notices().await;
    let mut reader = Reader::new(&service);
    let mut db = service.pool.acquire().await.unwrap();
    all_ended(&mut db).await;
    let page = reader.page().await;
    let bytes = page.to_string().len();
    assert!((1_000_000..1_100_000).contains(&bytes) && page["more"] == true, "{bytes}");
    reader.assert_complete().await;
}

#[tokio::test]
async fn an_item_is_the_relation() {
    let service = Service::start().await;
    relate(&service, CUSTOMER, MANAGER, "x").await;
    service
        .execute(
            "update customer_match set created_at = '2025-01-10 16:19:41.675999+00', matched_at = '2025-01-11', updated_at = '2025-01-12'",
        )
        .await;
    let mut reader = Reader::new(&service);
    let mut db = service.pool.acquire().await.unwrap();
    all_ended(&mut db).await;
    let page = reader.page().await;
    assert_eq!(
        page["items"],
        json!([{
            "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER, "role": "customer", "notice": "x", "active": true,
            "createdAt": "2025-01-10T16:19:41.675Z", "matchedAt": "2025-01-11T00:00:00.000Z",
            "updatedAt": "2025-01-12T00:00:00.000Z", "endedAt": null, "version": 1,
        }])
    );
    assert_eq!(page["more"], false);
}

/// Two transactions that commit in the other order than they began.
#[tokio::test]
async fn what_commits_late_is_not_passed() {
    let service = Service::start().await;
    service.add_customer(OTHER, None).await;
    let mut reader = Reader::new(&service);
    reader.changes().await;
    let mut slow = service.database.connect().await;
    sqlx::raw_sql(&format!(
        "begin;
         insert into customer_match (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager,
                                     created_at, matched_at, updated_at)
         values (1, '{CUSTOMER}', '{OTHER}', true, false, now(), now(), now())"
    ))
    .execute(&mut slow)
    .await
    .unwrap();
    relate(&service, MANAGER, CUSTOMER, "later").await;
    assert_eq!(reader.pages().await, [""; 0], "committed, and held back");
    sqlx::raw_sql("commit").execute(&mut slow).await.unwrap();
    assert_eq!(
        reader.changes().await,
        [format!("{CUSTOMER}>{OTHER}"), format!("{MANAGER}>{CUSTOMER} later")]
    );
}

/// Writers whose transactions stay open for random times and commit out of order, while readers page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_miss_nothing_of_writers_that_commit_out_of_order() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 60;
    let service = Service::start().await;
    if skip("match_changes::readers_miss_nothing_of_writers_that_commit_out_of_order", &service.database) {
        return;
    }
    for i in 0..8 {
        service.add_customer(&format!("customer{i:08}"), None).await;
    }
    let writer = async |number: usize| {
        let mut db = service.database.connect().await;
        for round in 0..ROUNDS {
            // Pairs of its own, so that no writer waits for another.
            let other = 4 + (number + round) % 4;
            let (low, high) = (format!("customer{number:08}"), format!("customer{other:08}"));
            let statement = format!(
                "begin;
                 insert into customer_match as m (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager,
                                                  notice, created_at, matched_at, updated_at)
                 values (1, '{low}', '{high}', true, false, '{number}.{round}', now(), now(), now())
                 on conflict (organisation_id, low_cu_ref_no, high_cu_ref_no) do update set
                     notice = excluded.notice, version = m.version + 1, changed_in = excluded.changed_in"
            );
            sqlx::raw_sql(&statement).execute(&mut db).await.unwrap();
            // Some stay open while the others go on.
            for _ in 0..(round * 7 + number * 13) % 29 {
                tokio::task::yield_now().await;
            }
            let end = if round % 5 == 4 { "rollback" } else { "commit" };
            sqlx::raw_sql(end).execute(&mut db).await.unwrap();
        }
    };
    let over = std::cell::Cell::new(false);
    let reader = async |limit| {
        let mut reader = Reader { limit, ..Reader::new(&service) };
        while !over.get() {
            reader.page().await;
        }
        reader.assert_complete().await;
    };
    let writers = async {
        futures_util::future::join_all((0..WRITERS).map(writer)).await;
        over.set(true);
    };
    futures_util::join!(writers, reader("1"), reader("3"), reader("500"));
}

#[tokio::test]
async fn what_is_no_cursor_is_invalid() {
    let service = Service::start().await;
    for customer in [CUSTOMER, OTHER] {
        if customer == OTHER {
            service.add_customer(customer, None).await;
        }
        relate(&service, MANAGER, customer, "").await;
    }
    let mut reader = Reader::new(&service);
    reader.changes().await;
    let cursor = reader.cursor.clone().unwrap();
    let of_list = service.get_from(LIST, &[("cuRefNo", MANAGER), ("limit", "1")]).await;
    let of_list = of_list.body["nextCursor"].as_str().unwrap();
    for text in ["x", of_list, &cursor[1..], &format!("{cursor}A")] {
        service.get_from(CHANGES, &[("cursor", text)]).await.assert_invalid("cursor");
    }
    // A cursor of changes is none of a list, and none of another organisation.
    service.get_from(LIST, &[("cuRefNo", MANAGER), ("cursor", &cursor)]).await.assert_invalid("cursor");
    let (_, key) = service.add_organisation("Other").await;
    service.get(&uri(CHANGES, &key, &[("cursor", &cursor)])).await.assert_invalid("cursor");
    for limit in ["0", "501", "x"] {
        service.get_from(CHANGES, &[("limit", limit)]).await.assert_invalid("limit");
    }
    let mut other = Reader { key: &key, ..Reader::new(&service) };
    assert_eq!(other.changes().await, [""; 0], "nothing of the other organisation");
}

/// A call that waits for as long as it may.
async fn waiting_call(service: &Service, key: &str, cursor: &str) -> Answer {
    service.get(&uri(CHANGES, key, &[("wait", "60"), ("cursor", cursor)])).await
}

/// Until so many calls wait.
async fn until_waiting(service: &Service, calls: usize) {
    let expected = [format!("customer_match_match_changes_waiting {calls}")];
    while service.samples(&["match_changes_waiting"]).await != expected {
        tokio::task::yield_now().await;
    }
}

/// It holds no permit and no connection: there is one of each.
#[tokio::test]
async fn a_call_waits_for_a_change() {
    let service =
        Service::start_configured(&["--max-concurrent-requests", "1", "--database-max-connections", "1"])
            .await;
    let mut reader = Reader::new(&service);
    reader.changes().await;
    let cursor = reader.cursor.clone().unwrap();
    let (answer, ()) = tokio::join!(waiting_call(&service, &service.key, &cursor), async {
        until_waiting(&service, 1).await;
        relate(&service, MANAGER, CUSTOMER, "new").await;
    });
    assert_eq!(in_words(&answer.body["items"][0]).1, format!("{MANAGER}>{CUSTOMER} new"));
    until_waiting(&service, 0).await;
    // What is there already is not waited for.
    let answer = waiting_call(&service, &service.key, &cursor).await;
    assert_eq!(answer.body["items"].as_array().unwrap().len(), 1);
}

/// A key that has been revoked shows nothing that changed since.
#[tokio::test]
async fn a_call_that_waits_ends_with_its_key() {
    let service = Service::start().await;
    let key = service.add_key(service.organisation, &[]).await;
    let cursor = Reader::new(&service).page().await["nextCursor"].as_str().unwrap().to_owned();
    let (answer, ()) = tokio::join!(waiting_call(&service, &key, &cursor), async {
        until_waiting(&service, 1).await;
        service
            .execute("update api_key set deleted_at = now() where id = (select max(id) from api_key)")
            .await;
        while service.get(&uri(CHANGES, &key, &[])).await.status == 200 {}
        relate(&service, MANAGER, CUSTOMER, "secret").await;
    });
    answer.assert_error(404, "PUBLIC_API_KEY_HAS_BEEN_DELETED");
}

#[tokio::test]
async fn a_change_of_another_organisation_wakes_no_call() {
    let service = Service::start().await;
    let (_, key) = service.add_organisation("Other").await;
    let cursor_of = async |key: &str| {
        let mut reader = Reader { key, ..Reader::new(&service) };
        reader.changes().await;
        reader.cursor.unwrap()
    };
    let (own, other) = (cursor_of(&service.key).await, cursor_of(&key).await);
    let mut other = Box::pin(waiting_call(&service, &key, &other));
    let own = async {
        let (answer, ()) = tokio::join!(waiting_call(&service, &service.key, &own), async {
            until_waiting(&service, 2).await;
            relate(&service, MANAGER, CUSTOMER, "").await;
        });
        assert_eq!(answer.body["items"].as_array().unwrap().len(), 1);
    };
    tokio::select! {
        answer = &mut other => panic!("{:#}", answer.body),
        () = own => {}
    }
    assert!(other.as_mut().now_or_never().is_none());
    drop(other);
    until_waiting(&service, 0).await;
}

/// The request timeout is as long, and was used before.
#[tokio::test]
async fn the_time_that_a_call_waits_is_its_own() {
    let service = Service::start_configured(&["--request-timeout", "1s", "--body-timeout", "100ms"]).await;
    let mut reader = Reader::new(&service);
    let cursor = reader.page().await["nextCursor"].clone();
    let answer = service.get_from(CHANGES, &[("wait", "1"), ("cursor", cursor.as_str().unwrap())]).await;
    assert_eq!(
        (answer.status, &answer.body),
        (200, &json!({ "items": [], "nextCursor": cursor, "more": false }))
    );
    for wait in ["61", "-1", "1.5", "x"] {
        service.get_from(CHANGES, &[("wait", wait)]).await.assert_invalid("wait");
    }
}

#[tokio::test]
async fn a_client_that_leaves_waits_no_longer() {
    let service = Service::start().await;
    let cursor = Reader::new(&service).page().await["nextCursor"].as_str().unwrap().to_owned();
    tokio::select! {
        answer = waiting_call(&service, &service.key, &cursor) => panic!("{:#}", answer.body),
        () = until_waiting(&service, 1) => {}
    }
    until_waiting(&service, 0).await;
}

#[tokio::test]
async fn the_end_of_the_server_ends_waiting() {
    let service = Service::start().await;
    let cursor = Reader::new(&service).page().await["nextCursor"].as_str().unwrap().to_owned();
    let (answer, ()) = tokio::join!(waiting_call(&service, &service.key, &cursor), async {
        until_waiting(&service, 1).await;
        service.draining.cancel();
    });
    assert_eq!((answer.status, &answer.body["items"]), (200, &json!([])));
    assert_eq!(answer.body["nextCursor"], cursor.as_str());
}

/// Half of all that may wait; a further call is answered at once, and one of another organisation waits.
#[tokio::test]
async fn an_organisation_has_a_part_of_the_waiting_calls() {
    let service = Service::start().await;
    let (_, key) = service.add_organisation("Other").await;
    let cursor = Reader::new(&service).page().await["nextCursor"].as_str().unwrap().to_owned();
    let other = Reader { key: &key, ..Reader::new(&service) }.page().await;
    let other = other["nextCursor"].as_str().unwrap().to_owned();
    // Not all at once: those that cannot read for lack of a connection would be answered 503.
    let begun = tokio::sync::watch::Sender::new(0);
    let most = futures_util::future::join_all((0..512).map(async |call| {
        begun.subscribe().wait_for(|begun| call < *begun).await.unwrap();
        waiting_call(&service, &service.key, &cursor).await
    }));
    let then = async {
        for calls in (32..=512).step_by(32) {
            begun.send_replace(calls);
            until_waiting(&service, calls).await;
        }
        let further = waiting_call(&service, &service.key, &cursor).await;
        assert_eq!((further.status, &further.body["items"]), (200, &json!([])));
        let (_, ()) = tokio::join!(waiting_call(&service, &key, &other), async {
            until_waiting(&service, 513).await;
            service.draining.cancel();
        });
    };
    tokio::join!(most, then);
}

#[tokio::test]
async fn how_long_changes_are_held_back_is_measured() {
    let service = Service::start().await;
    let mut slow = service.database.connect().await;
    sqlx::raw_sql("begin; update organisation set name = name").execute(&mut slow).await.unwrap();
    let name = "match_changes_held_back_seconds";
    loop {
        Reader::new(&service).page().await;
        let sample = service.samples(&[name]).await.pop().unwrap();
        if sample.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 0.0 {
            break;
        }
    }
}

/// As if another Postgres had been given the name of the last one.
#[tokio::test]
async fn a_cursor_of_another_database_is_told_so() {
    let (one, other) = (Service::start().await, Service::start().await);
    // Both are copies of one database, with the same key for cursors.
    let cursor = Reader::new(&one).page().await["nextCursor"].as_str().unwrap().to_owned();
    let answer = other.get_from(CHANGES, &[("cursor", &cursor)]).await;
    answer.assert_error(409, "PUBLIC_CHANGES_START_AGAIN");
}

/// A snapshot of the disk, put back, has the same history and fewer transactions.
#[tokio::test]
async fn a_cursor_from_the_future_is_told_so() {
    let service = Service::start().await;
    let cursor = Reader::new(&service).page().await["nextCursor"].as_str().unwrap().to_owned();
    let secret: Vec<u8> =
        sqlx::query_scalar("select secret from cursor_key").fetch_one(&service.pool).await.unwrap();
    let key = CursorKey::new(&secret);
    let cursor: ChangeCursor = key.verify(service.organisation, &cursor.parse().unwrap()).unwrap();
    let next = "select pg_snapshot_xmax(pg_current_snapshot())::text::int8";
    let next: i64 = sqlx::query_scalar(next).fetch_one(&service.pool).await.unwrap();
    let future = key.sign(service.organisation, &ChangeCursor { changed_in: next + 1_000_000_000, ..cursor });
    let answer = service.get_from(CHANGES, &[("cursor", &future)]).await;
    answer.assert_error(409, "PUBLIC_CHANGES_START_AGAIN");
}

/// The database as the programs of Postgres name it.
fn at<'a>(program: &'a mut Command, database: &PgConnectOptions) -> &'a mut Command {
    program.arg("--host").arg(database.get_socket().map_or(Path::new(database.get_host()), PathBuf::as_path));
    program.args([
        "--port",
        &database.get_port().to_string(),
        "--username",
        database.get_username(),
        "--dbname",
        database.get_database().unwrap(),
    ])
}

/// By `pg_dump` and `psql`.
async fn restore(from: &PgConnectOptions, to: &PgConnectOptions) {
    let mut db = PgConnection::connect_with(from).await.unwrap();
    let bin = "select setting from pg_config where name = 'BINDIR'";
    let bin: PathBuf = sqlx::query_scalar::<_, String>(bin).fetch_one(&mut db).await.unwrap().into();
    let mut dump = Command::new(bin.join("pg_dump"));
    // Without the extension and the role of a cluster.
    dump.args(["--extension=pg_trgm", "--extension=btree_gin", "--no-owner"]);
    let mut dump = at(&mut dump, from).stdout(Stdio::piped()).spawn().unwrap();
    let mut restore = Command::new(bin.join("psql"));
    restore.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]);
    assert!(at(&mut restore, to).stdin(dump.stdout.take().unwrap()).status().unwrap().success());
    assert!(dump.wait().unwrap().success());
}

/// In the same cluster the numbers stay behind those that readers have seen; in another one they stand anywhere.
#[rstest]
#[case::into_the_same_cluster(false)]
#[case::into_another_cluster(true)]
#[tokio::test]
async fn a_restored_dump_is_numbered_anew(#[case] into_another: bool) {
    let original = Service::start().await;
    original.add_a_long_list().await;
    let mut reader = Reader::new(&original);
    reader.assert_complete().await;

    let cluster = PrivatePostgres::start_throw_away().await.unwrap();
    let empty = TestDatabase::create_empty().await;
    let options = if into_another { cluster.connect_options() } else { empty.options() };
    restore(&original.database.options(), &options).await;
    let restored = Service::moved_to(options.clone(), original.organisation, &original.key).await;
    let read = async |cursor: &[(&str, &str)]| restored.get_from(CHANGES, cursor).await;
    let cursor = reader.cursor.clone().unwrap();
    for cursor in [&[][..], &[("cursor", cursor.as_str())]] {
        read(cursor).await.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
    }
    // Everything else works.
    relate(&restored, MANAGER, CUSTOMER, "after the dump").await;

    migration::run(&options).await.unwrap();
    read(&[("cursor", &cursor)]).await.assert_error(409, "PUBLIC_CHANGES_START_AGAIN");
    let mut again = Reader { limit: "500", ..Reader::new(&restored) };
    again.assert_complete().await;
    assert_eq!(again.seen.len(), 11_001);
    // Nothing is left to be numbered.
    migration::run(&options).await.unwrap();
    relate(&restored, MANAGER, CUSTOMER, "later").await;
    assert_eq!(again.changes().await, [format!("{MANAGER}>{CUSTOMER} later")]);
}

/// It may not have what the first one has shown last, and draw the same numbers again.
#[tokio::test]
async fn readers_start_again_on_a_promoted_standby() {
    let first = PrivatePostgres::start_throw_away().await.unwrap();
    migration::run(&first.connect_options()).await.unwrap();
    let standby = Standby::of(&first.connect_options()).await;
    let (service, proxy) = Service::start_elsewhere(first.connect_options()).await;
    relate(&service, MANAGER, CUSTOMER, "").await;
    let mut reader = Reader::new(&service);
    assert_eq!(reader.changes().await.len(), 1);
    let cursor = reader.cursor.clone().unwrap();
    let promoted = standby.promote().await;
    proxy.lead_to(promoted.clone());
    let promoted = Service::moved_to(promoted, service.organisation, &service.key).await;
    promoted.get_from(CHANGES, &[("cursor", &cursor)]).await.assert_error(409, "PUBLIC_CHANGES_START_AGAIN");
    // Without an operator's help.
    Reader::new(&promoted).assert_complete().await;
}
