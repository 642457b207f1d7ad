//! Locks: only the writes that need a locked row wait, and no two operations deadlock.

use customer_match::db::{Layout, customer_delete, customer_merge};
use customer_match::domain::{CuRefNo, ProfileText};
use futures_util::future::{join, join_all};
use rstest::rstest;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::support::{CREATE, CUSTOMER, MAGIC_AUTH, MANAGER, MATCH, Service, UNMATCH, UPDATE, json_request};

/// A transaction of an operator that has done this and does not end.
async fn forgotten(service: &Service, sql: &str) -> PgConnection {
    let mut connection = PgConnection::connect_with(&service.database.options()).await.unwrap();
    sqlx::raw_sql(&format!("begin; {sql}")).execute(&mut connection).await.unwrap();
    connection
}

/// Writes about a locked pair, customer or e-mail address wait; all others of the organisation, in the same batch and later, do
/// not. The locked ones are written when the lock ends.
#[rstest]
#[case::pair("select from customer_match where organisation_id = 1 for update")]
#[case::pair_no_key("select from customer_match where organisation_id = 1 for no key update")]
#[case::customer(
    "select from customer where organisation_id = 1 and cu_ref_no = '5CmsaVNgAQqRqoen' for update"
)]
#[case::new_customer(
    "insert into customer (organisation_id, cu_ref_no, email) values (1, 'uncommitted00001', 'new@example.com')"
)]
#[case::new_pair(
    "insert into customer_match (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager,
                                 created_at, matched_at, updated_at)
     values (1, '5CmsaVNgAQqRqoen', 'trainer000000001', true, false, now(), now(), now())"
)]
#[tokio::test]
async fn only_writes_that_need_the_lock_wait(#[case] sql: &str) {
    let service = Service::start().await;
    for customer in ["trainer000000001", "client0000000001", "client0000000002"] {
        service.add_customer(customer, None).await;
    }
    let pair = |manager: &str, customer: &str, notice: &str| json!({ "managerCuRefNo": manager, "customerCuRefNo": customer, "notice": notice });
    service.post_match(pair(MANAGER, CUSTOMER, "x")).await.assert_success();
    let mut lock = forgotten(&service, sql).await;

    // Each case blocks one of these at least.
    let locked = [
        (MATCH, pair(MANAGER, CUSTOMER, "changed")),
        (MATCH, pair("trainer000000001", CUSTOMER, "x")),
        (MATCH, json!({ "managerCuRefNo": MANAGER, "customerEmail": "new@example.com" })),
        (UNMATCH, pair(CUSTOMER, MANAGER, "")),
        (CREATE, json!({ "email": "jan@barasek.com", "firstName": "Jan" })),
        (CREATE, json!({ "email": "new@example.com" })),
        (UPDATE, json!({ "cuRefNo": CUSTOMER, "phone": "777" })),
        (UPDATE, json!({ "email": "jan@barasek.com", "lastName": "Barášek" })),
        (MAGIC_AUTH, json!({ "email": "new@example.com" })),
    ];
    let locked = join_all(locked.into_iter().map(|(path, body)| service.post_to(path, body)));
    let conditional = json_request(&format!("{MATCH}?apiKey={}", service.key)).header("if-match", "*");
    let conditional = conditional.body(pair(MANAGER, CUSTOMER, "conditional").to_string().into()).unwrap();
    let others = async {
        for round in 0..20 {
            let body = pair("trainer000000001", "client0000000001", &round.to_string());
            let email = format!("guest{round}@example.com");
            let guest = json!({ "managerCuRefNo": "client0000000002", "customerEmail": email });
            let (matched, guest) = join(service.post_match(body.clone()), service.post_match(guest)).await;
            matched.assert_success();
            guest.assert_success();
            service.post_to(UNMATCH, body).await.assert_success();
        }
        sqlx::raw_sql("rollback").execute(&mut lock).await.unwrap();
    };
    let (locked, (conditional, ())) = join(locked, join(service.call(conditional), others)).await;
    for answer in locked.into_iter().chain([conditional]) {
        assert_eq!(answer.status, 200, "{:#}", answer.body);
    }
}

/// All operations on the same few customers, against each other.
#[tokio::test]
async fn no_two_operations_deadlock() {
    let service = Service::start().await;
    // A node of a cluster has a queue of half the length: 512 writes of an organisation.
    let count = match service.database.layout() {
        Layout::Single => 40,
        Layout::Distributed => 28,
    };
    let customers: Vec<_> = (0..count).map(|i| format!("customer{i:08}")).collect();
    for customer in &customers {
        service.add_customer(customer, Some(&format!("{customer}@example.com"))).await;
    }
    let email = |i: usize| format!("{}@example.com", customers[i]);
    let body =
        |i: usize, j: usize| json!({ "managerCuRefNo": customers[i], "customerCuRefNo": customers[j] });
    let reference = |i: usize| CuRefNo::parse(customers[i].as_str()).unwrap();
    let pairs =
        || (0..count).flat_map(|i| [(i, (i + 1) % count), (i, (i + 7) % count), ((i + 3) % count, i)]);
    let matches = || join_all(pairs().map(|(i, j)| service.post_match(body(i, j))));
    let unmatches = || join_all(pairs().map(|(i, j)| service.post_to(UNMATCH, body(j, i))));
    let by_email = join_all(pairs().map(|(i, j)| {
        service.post_match(json!({ "managerCuRefNo": customers[i], "customerEmail": email(j) }))
    }));
    let creates = join_all(
        (0..count).map(|i| service.post_to(CREATE, json!({ "email": email(i), "firstName": "Jan" }))),
    );
    // Four want each address.
    let updates = join_all((0..count).map(|i| {
        let wanted = format!("wanted{}@example.com", i % (count / 4));
        service.post_to(UPDATE, json!({ "cuRefNo": customers[i], "newEmail": wanted }))
    }));
    let reason = ProfileText::parse("test").unwrap();
    let deletions = join_all((0..count / 5).map(|i| {
        let (reference, reason, pool) = (reference(i * 5), &reason, &service.pool);
        async move { customer_delete::delete(pool, 1, &reference, reason).await.map(|_| ()) }
    }));
    let merges = join_all((0..count / 5).map(|i| {
        let (legacy, survivor, pool) = (reference(i * 5 + 1), reference(i * 5 + 2), &service.pool);
        async move {
            let merge = customer_merge::Merge { organisation_id: 1, legacy: &legacy, survivor: &survivor };
            customer_merge::merge(pool, merge).await.map(|_| ())
        }
    }));
    let calls =
        join(join(matches(), unmatches()), join(join(by_email, creates), join(matches(), unmatches())));
    let ((calls, updated), (deleted, merged)) = join(join(calls, updates), join(deletions, merges)).await;
    let ((matched, unmatched), ((by_email, created), (again, ended))) = calls;
    for answer in updated {
        assert!([200, 404, 409].contains(&answer.status), "{:#}", answer.body);
    }
    assert!(deleted.iter().all(Result::is_ok) && merged.iter().all(Result::is_ok), "{deleted:?} {merged:?}");
    for answer in [matched, unmatched, by_email, created, again, ended].concat() {
        assert!([200, 404].contains(&answer.status), "{:#}", answer.body);
    }
    let deadlocks = match service.database.layout() {
        Layout::Single => "select deadlocks from pg_stat_database where datname = current_database()",
        Layout::Distributed => {
            "select sum(result::int8)::int8 from run_command_on_all_nodes(
                 $$select deadlocks from pg_stat_database where datname = current_database()$$
             )"
        }
    };
    assert_eq!(sqlx::query_scalar::<_, i64>(deadlocks).fetch_one(&service.pool).await.unwrap(), 0);
}

/// On a cluster the row of an organisation is on every node.
#[tokio::test]
async fn deletions_and_merges_leave_the_row_of_the_organisation_alone() {
    let service = Service::start().await;
    for customer in ["legacy0000000001", "survivor00000001"] {
        service.add_customer(customer, None).await;
    }
    let _lock = forgotten(&service, "select from organisation where id = 1 for no key update").await;
    service.delete_customer(CUSTOMER).await;
    let [legacy, survivor] =
        ["legacy0000000001", "survivor00000001"].map(|name| CuRefNo::parse(name).unwrap());
    let merge = customer_merge::Merge { organisation_id: 1, legacy: &legacy, survivor: &survivor };
    customer_merge::merge(&service.pool, merge).await.unwrap();
    let deleted = "select count(*) from customer where organisation_id = 1 and deleted_at is not null";
    assert_eq!(sqlx::query_scalar::<_, i64>(deleted).fetch_one(&service.pool).await.unwrap(), 2);
}

/// The answer shows the relation as this call left it, whatever others do to the pair at the same time.
#[tokio::test]
async fn a_representation_is_of_its_own_call() {
    let service = Service::start().await;
    let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    let matches = join_all((0..60).map(|i| {
        let (notice, service) = (format!("notice {i}"), &service);
        let body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": notice });
        let request = json_request(&format!("{MATCH}?apiKey={}", service.key));
        let request =
            request.header("prefer", "return=representation").body(body.to_string().into()).unwrap();
        async move { (notice, service.call(request).await) }
    }));
    let unmatches = join_all((0..30).map(|_| service.post_to(UNMATCH, pair.clone())));
    let (matched, _) = join(matches, unmatches).await;
    for (notice, answer) in matched {
        assert_eq!((answer.status, &answer.body["relation"]["notice"]), (200, &json!(notice)));
        assert_eq!(answer.body["relation"]["active"], true);
    }
}

/// Whatever the defaults of the database are, each connection has what the server relies on.
#[tokio::test]
async fn every_connection_demands_what_it_relies_on() {
    let service = Service::start().await;
    let defaults = "do $$ declare setting text; begin
            foreach setting in array array[
                'synchronous_commit = off', 'default_transaction_isolation = serializable',
                'timezone = ''Asia/Tokyo''', 'lock_timeout = 0', 'statement_timeout = 0'
            ] loop
                execute format('alter database %I set ', current_database()) || setting;
            end loop;
        end $$";
    service.execute(defaults).await;
    let service = service.restarted();
    let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    service.post_match(pair).await.assert_success();
    let settings: (String, String, String, String) = sqlx::query_as(
        "select current_setting('synchronous_commit'), current_setting('transaction_isolation'),
                current_setting('TimeZone'), current_setting('statement_timeout')",
    )
    .fetch_one(&service.pool)
    .await
    .unwrap();
    assert_eq!(settings, ("on".into(), "read committed".into(), "UTC".into(), "5s".into()));
}
