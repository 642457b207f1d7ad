//! `GET /api/v1/customer/match-changes`: a reader that follows the cursor knows at each moment what the table held a moment ago.

use std::collections::BTreeMap;

use customer_match::db::customer_merge::{self, Merge};
use customer_match::domain::CuRefNo;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::support::import::import;
use crate::support::{CHANGES, CUSTOMER, LIST, MANAGER, Service, UNMATCH, uri};

const OTHER: &str = "otherCustomer001";
const LEGACY: &str = "legacyCustomer01";

/// A client that has read some of the changes.
struct Reader<'a> {
    service: &'a Service,
    key: &'a str,
    limit: &'static str,
    cursor: Option<String>,
    /// The last state of each pair, as [`Service::relations`] writes it.
    seen: BTreeMap<[String; 2], String>,
}

impl<'a> Reader<'a> {
    fn new(service: &'a Service) -> Self {
        Self { service, key: &service.key, limit: "500", cursor: None, seen: BTreeMap::new() }
    }

    async fn page(&mut self) -> Value {
        let mut parameters = vec![("limit", self.limit)];
        parameters.extend(self.cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let answer = self.service.get(&uri(CHANGES, self.key, &parameters)).await;
        assert_eq!(answer.status, 200, "{:#}", answer.body);
        self.cursor = Some(answer.body["nextCursor"].as_str().unwrap().into());
        for item in answer.body["items"].as_array().unwrap() {
            let (pair, text) = in_words(item);
            self.seen.insert(pair, text);
        }
        answer.body
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

    /// What has come since, once nothing holds it back. Other tests write to the same Postgres.
    async fn changes(&mut self) -> Vec<String> {
        let mut db = self.service.pool.acquire().await.unwrap();
        all_ended(&mut db).await;
        drop(db);
        self.pages().await
    }

    /// Every relation, as the table has it.
    async fn assert_complete(&mut self) {
        self.changes().await;
        assert_eq!(self.seen.values().cloned().collect::<Vec<_>>(), self.service.relations().await);
    }
}

/// Until every transaction has ended that has begun.
async fn all_ended(db: &mut PgConnection) {
    let next = "select pg_snapshot_xmax(pg_current_snapshot())::text::int8";
    let begun: i64 = sqlx::query_scalar(next).fetch_one(&mut *db).await.unwrap();
    let first_running = "select pg_snapshot_xmin(pg_current_snapshot())::text::int8";
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

async fn relate(service: &Service, manager: &str, customer: &str, notice: &str) {
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

async fn merge(service: &Service, legacy: &str, survivor: &str) -> customer_merge::Merged {
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
