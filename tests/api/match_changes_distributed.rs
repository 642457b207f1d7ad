//! `match-changes` of a distributed database: its functions, which plain Postgres has too, and what follows when the rows of an
//! organisation are on another node than before.

use customer_match::db::relation_change::{self, ChangePage, ChangesRead};
use customer_match::db::{Layout, change_origin};
use customer_match::domain::ChangeCursor;
use futures_util::future::join_all;
use rstest::rstest;
use serde_json::json;
use sqlx::PgConnection;

use crate::match_changes::{Reader, all_ended, merge, relate};
use crate::support::{CHANGES, CUSTOMER, MANAGER, Service, UNMATCH, skip};

const OTHER: &str = "otherCustomer001";

/// As a move to a node whose transactions have other ids leaves the rows: each is a copy, with the number that it had.
const MOVE: &str = "
    begin;
    create temporary table moved on commit drop as select * from organisation_change_origin;
    delete from organisation_change_origin;
    insert into organisation_change_origin select * from moved;
    update customer_match set changed_in = (changed_in::text::int8 + 1000000000)::text::xid8 where changed_in::text::int8 % 2 = 0;
    update customer_match set changed_in = '7' where changed_in < '1000000000';
    commit";

async fn renumber(db: &mut PgConnection, most: i64) -> bool {
    let renumber = "select done from organisation_renumber(1, $1) as done";
    sqlx::query_scalar(renumber).bind(most).fetch_one(db).await.unwrap()
}

async fn numbers(db: &mut PgConnection) -> Vec<i64> {
    let numbers = "select changed_in::text::int8 from customer_match order by low_cu_ref_no, high_cu_ref_no";
    sqlx::query_scalar(numbers).fetch_all(db).await.unwrap()
}

async fn page(
    db: &mut PgConnection,
    layout: Layout,
    after: Option<&ChangeCursor>,
    limit: usize,
) -> ChangePage {
    match relation_change::read(db, layout, 1, after, limit).await.unwrap() {
        ChangesRead::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_operation_is_seen() {
    let service = Service::start().await;
    service.add_customer(OTHER, None).await;
    let service = service.taken_for_distributed();
    let mut reader = Reader::new(&service);
    assert_eq!(reader.changes().await, [""; 0], "numbered by the first call");
    relate(&service, MANAGER, CUSTOMER, "a").await;
    assert_eq!(reader.changes().await, [format!("{MANAGER}>{CUSTOMER} a")]);
    service
        .post_to(UNMATCH, json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }))
        .await
        .assert_success();
    assert_eq!(reader.changes().await, [format!("{MANAGER}>{CUSTOMER} a (inactive)")]);
    relate(&service, CUSTOMER, MANAGER, "").await;
    merge(&service, CUSTOMER, OTHER).await;
    reader.assert_complete().await;
    service.delete_customer(OTHER).await;
    reader.assert_complete().await;
    Reader::new(&service).assert_complete().await;
}

#[rstest]
#[case(1)]
#[case(7)]
#[case(500)]
#[tokio::test]
async fn pages_are_those_of_one_postgres(#[case] limit: usize) {
    let service = Service::start().await;
    if skip("match_changes_distributed::pages_are_those_of_one_postgres", &service.database) {
        return;
    }
    service.add_a_list_of_long_notices().await;
    relate(&service, CUSTOMER, MANAGER, "").await;
    service.delete_customer(CUSTOMER).await;
    let mut db = service.database.connect().await;
    let of_function = relation_change::read(&mut db, Layout::Distributed, 1, None, limit).await.unwrap();
    assert!(matches!(of_function, ChangesRead::NotNumbered), "{of_function:?}");
    assert!(renumber(&mut db, 1_000).await);
    all_ended(&mut db).await;

    let (mut single, mut distributed) = (None, None);
    let mut items = 0;
    loop {
        let expected = page(&mut db, Layout::Single, single.as_ref(), limit).await;
        let found = page(&mut db, Layout::Distributed, distributed.as_ref(), limit).await;
        assert_eq!(format!("{:?}", found.items), format!("{:?}", expected.items));
        assert_eq!(found.more, expected.more);
        let place = |page: &ChangePage| (page.next_cursor.changed_in, page.next_cursor.pair.clone());
        assert_eq!(place(&found), place(&expected));
        items += found.items.len();
        (single, distributed) = (Some(expected.next_cursor), Some(found.next_cursor));
        if !found.more {
            break;
        }
    }
    assert_eq!(items, 251);
    let foreign =
        relation_change::read(&mut db, Layout::Distributed, 1, single.as_ref(), limit).await.unwrap();
    assert!(matches!(foreign, ChangesRead::ForeignCursor), "of another origin: {foreign:?}");
}

#[tokio::test]
async fn the_last_changes_are_those_of_one_postgres() {
    let service = Service::start().await;
    if skip("match_changes_distributed::the_last_changes_are_those_of_one_postgres", &service.database) {
        return;
    }
    service.add_organisation("Without relations").await;
    relate(&service, MANAGER, CUSTOMER, "").await;
    let mut db = service.database.connect().await;
    all_ended(&mut db).await;
    let mut open = service.database.connect().await;
    sqlx::raw_sql("begin; update customer_match set notice = 'held back', changed_in = pg_current_xact_id()")
        .execute(&mut open)
        .await
        .unwrap();
    for ids in [&[1, 2][..], &[2], &[2, 1]] {
        let (_, expected) = relation_change::latest(&mut db, Layout::Single, ids).await.unwrap();
        let (_, found) = relation_change::latest(&mut db, Layout::Distributed, ids).await.unwrap();
        assert_eq!(found, expected);
        assert_eq!(found.len(), usize::from(ids.contains(&1)));
    }
}

#[tokio::test]
async fn an_organisation_that_was_moved_is_numbered_anew() {
    let service = Service::start().await;
    if skip("match_changes_distributed::an_organisation_that_was_moved_is_numbered_anew", &service.database) {
        return;
    }
    service.add_a_long_list().await;
    let service = service.taken_for_distributed();
    let mut reader = Reader::new(&service);
    // The first call may find that 11,000 relations take too long.
    while service.get_from(CHANGES, &[]).await.status == 503 {}
    reader.assert_complete().await;
    let cursor = reader.cursor.clone().unwrap();
    service.execute(MOVE).await;
    // Everything else works meanwhile.
    relate(&service, MANAGER, CUSTOMER, "moved").await;
    loop {
        let answer = service.get_from(CHANGES, &[("cursor", &cursor)]).await;
        if answer.status != 503 {
            answer.assert_error(409, "PUBLIC_CHANGES_START_AGAIN");
            break;
        }
    }
    let mut again = Reader::new(&service);
    again.assert_complete().await;
    relate(&service, CUSTOMER, MANAGER, "later").await;
    assert_eq!(again.changes().await, [format!("{MANAGER}<>{CUSTOMER} later")]);
}

#[tokio::test]
async fn renumbering_goes_on_where_it_ended_and_begins_anew_after_a_move() {
    let service = Service::start().await;
    if skip(
        "match_changes_distributed::renumbering_goes_on_where_it_ended_and_begins_anew_after_a_move",
        &service.database,
    ) {
        return;
    }
    service.add_a_list_of_long_notices().await;
    let mut db = service.database.connect().await;
    let before = numbers(&mut db).await;
    assert!(!renumber(&mut db, 100).await);
    let some = numbers(&mut db).await;
    assert!(some[..100].iter().all(|number| *number > before[0]) && some[100..] == before[100..]);
    let read = relation_change::read(&mut db, Layout::Distributed, 1, None, 5).await.unwrap();
    assert!(matches!(read, ChangesRead::NotNumbered), "{read:?}");
    assert!(!renumber(&mut db, 100).await);
    assert_eq!(numbers(&mut db).await[..100], some[..100], "none twice");

    sqlx::raw_sql(MOVE).execute(&mut db).await.unwrap();
    let moved = numbers(&mut db).await;
    assert!(!renumber(&mut db, 100).await);
    assert!(!renumber(&mut db, 100).await);
    assert!(renumber(&mut db, 100).await);
    let renumbered = numbers(&mut db).await;
    assert!(
        renumbered.iter().all(|number| (some[0]..1_000_000_000).contains(number)),
        "{moved:?} {renumbered:?}"
    );
    assert!(renumber(&mut db, 100).await);
    assert_eq!(numbers(&mut db).await, renumbered, "all are");
    let mut other = service.database.connect().await;
    all_ended(&mut other).await;
    page(&mut db, Layout::Distributed, None, 5).await;
}

/// Each pair has one number, drawn here, whoever drew it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_servers_renumber_at_the_same_time() {
    let service = Service::start().await;
    if skip("match_changes_distributed::several_servers_renumber_at_the_same_time", &service.database) {
        return;
    }
    service.add_a_long_list().await;
    service.execute(MOVE).await;
    join_all((0..4).map(async |_| {
        let mut db = service.database.connect().await;
        while !change_origin::renumber_some(&mut db, 1).await.unwrap() {}
    }))
    .await;
    let mut db = service.database.connect().await;
    let numbers = numbers(&mut db).await;
    let mut transactions = numbers.clone();
    transactions.dedup();
    assert_eq!((numbers.len(), transactions.len()), (11_000, 3), "5,000 in each, and each once");
    let mut again = Reader::new(&service);
    again.assert_complete().await;
}

/// The next node gets the shard of organisation 1 and those that belong to it.
const MOVE_SHARD: &str = "
    select citus_move_shard_placement(
        shardid, here.nodename, here.nodeport, there.nodename, there.nodeport, shard_transfer_mode => 'block_writes'
    )
    from pg_dist_placement
    join pg_dist_node as here using (groupid)
    join pg_dist_node as there on there.shouldhaveshards and there.groupid <> here.groupid
    where shardid = get_shard_id_for_distribution_column('customer', 1)
    order by there.groupid limit 1";

/// On a cluster with two workers only.
#[tokio::test]
async fn nothing_is_missed_while_a_shard_moves() {
    let service = Service::start().await;
    if service.database.layout() == Layout::Single {
        eprintln!("no shard moves without a cluster");
        return;
    }
    service.add_customer(OTHER, None).await;
    let over = std::cell::Cell::new(false);
    let writer = async {
        let mut number = 0;
        while !over.get() {
            for customer in [CUSTOMER, OTHER] {
                number += 1;
                let wanted = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": customer, "notice": format!("{number}") });
                let answer = service.post_match(wanted).await;
                assert!([200, 503].contains(&answer.status), "{:#}", answer.body);
            }
        }
    };
    let mover = async {
        let mut db = service.database.connect().await;
        for _ in 0..4 {
            sqlx::raw_sql(MOVE_SHARD).execute(&mut db).await.unwrap();
        }
        over.set(true);
    };
    let mut again = 0;
    let mut reader = Reader::new(&service);
    let follow = async {
        while !over.get() {
            let cursor = reader.cursor.clone();
            let parameters: Vec<_> = cursor.iter().map(|cursor| ("cursor", cursor.as_str())).collect();
            let answer = service.get_from(CHANGES, &parameters).await;
            match answer.status {
                200 => reader.take(&answer.body),
                409 => {
                    again += 1;
                    reader = Reader::new(&service);
                }
                503 => {}
                _ => panic!("{:#}", answer.body),
            }
        }
    };
    tokio::join!(writer, mover, follow);
    assert!((1..=4).contains(&again), "{again}");
    // The last move may have left it on another node than the reader has seen.
    if let Some(cursor) = reader.cursor.clone()
        && service.get_from(CHANGES, &[("cursor", &cursor)]).await.status == 409
    {
        reader = Reader::new(&service);
    }
    reader.assert_complete().await;
}
