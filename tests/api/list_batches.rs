//! Lists of a distributed database, many at the same time: one call of a function reads several of them.

use customer_match::db::Layout;
use futures_util::future::join_all;
use rstest::rstest;
use serde_json::json;
use sqlx::Connection;

use crate::support::{Answer, CUSTOMER, LIST, MANAGER, MATCH, Service, uri};

const UNKNOWN: &str = "unknown000000000";

/// What the server asks a coordinator for, as there it has to wait for no answer that is an error.
const ONE_NODE: &str = "
    create table pg_dist_placement (placementid int8, shardid int8, shardstate int4, groupid int4);
    insert into pg_dist_placement values (1, 1, 1, 7);
    create function get_shard_id_for_distribution_column(regclass, int8) returns int8 language sql immutable return 1;
";

/// Calls of both organisations, whose customers have the same references: first pages, further ones, filters, a long list, by reference
/// and by identity, valid and not.
async fn calls(service: &Service) -> Vec<String> {
    service.add_a_long_list().await;
    let (other, other_key) = service.add_organisation("Other").await;
    for (cu_ref_no, email) in [(MANAGER, None), (CUSTOMER, Some("jan@barasek.com"))] {
        service.add_customer_of(other, cu_ref_no, email).await;
    }
    let identity = service.log_in("jan@barasek.com").await;
    let mut calls = Vec::new();
    for (organisation, key) in [(service.organisation, &service.key), (other, &other_key)] {
        for number in 0..9 {
            let cu_ref_no = format!("listed{organisation:04}00000{number}");
            let email = format!("{number}@of-{organisation}.example");
            service.add_customer_of(organisation, &cu_ref_no, Some(&email)).await;
            for manager in [MANAGER, CUSTOMER] {
                let notice = format!("of {organisation} {number}");
                let body =
                    json!({ "managerCuRefNo": manager, "customerCuRefNo": cu_ref_no, "notice": notice });
                service.post(&uri(MATCH, key, &[]), body).await.assert_success();
            }
            let owner = ("cuRefNo", &*cu_ref_no);
            calls.extend([&[owner][..], &[owner, ("query", "Barasek")]].map(|call| uri(LIST, key, call)));
        }
        for cu_ref_no in [MANAGER, CUSTOMER, UNKNOWN] {
            let owner = ("cuRefNo", cu_ref_no);
            let term = ("query", "of-");
            for call in
                [&[owner][..], &[owner, term], &[owner, ("limit", "2")], &[owner, term, ("limit", "2")]]
            {
                calls.push(uri(LIST, key, call));
                let answer = service.get(calls.last().unwrap()).await;
                if let Some(cursor) = answer.body["nextCursor"].as_str() {
                    calls.push(uri(LIST, key, &[call, &[("cursor", cursor)]].concat()));
                }
            }
        }
        calls.extend(
            [&[("identityId", &*identity)][..], &[("identityId", &identity), ("query", "3@")]]
                .map(|call| uri(LIST, key, call)),
        );
    }
    calls
}

fn text(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.body)
}

#[tokio::test]
async fn each_call_is_answered_as_if_it_were_alone() {
    let service = Service::start().await;
    let calls = calls(&service).await;
    let mut alone = Vec::new();
    for call in &calls {
        alone.push(text(&service.get(call).await));
    }
    if service.database.layout() == Layout::Single {
        service.execute(ONE_NODE).await;
    }
    let service = service.taken_for_distributed();
    for _ in 0..3 {
        let together = join_all(calls.iter().map(|call| service.get(call))).await;
        for ((call, alone), answer) in calls.iter().zip(&alone).zip(together) {
            assert_eq!(&text(&answer), alone, "{call}");
        }
    }
    let samples = service.samples(&["list_batch_size_sum", "list_batch_size_count"]).await;
    let value = |sample: &String| sample.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    let (batches, lists) = (value(&samples[0]), value(&samples[1]));
    assert!(lists > 200.0 && lists > 2.0 * batches, "{batches} batches of {lists} lists");
}

/// An error of one list is not that of the others in its batch.
#[rstest]
#[case::by_a_fault("P0001", 500, "INTERNAL_ERROR")]
#[case::as_its_worker_is_down("08006", 503, "INTERNAL_SERVICE_UNAVAILABLE")]
#[tokio::test]
async fn a_list_that_fails_fails_alone(#[case] sqlstate: &str, #[case] status: u16, #[case] code: &str) {
    let service = Service::start().await.taken_for_distributed();
    service
        .execute(&format!(
            "create or replace function customer_is_living(organisation int8, wanted text) returns boolean
             language plpgsql stable as $$
             begin
               if wanted = '{UNKNOWN}' then
                 raise exception 'planted' using errcode = '{sqlstate}';
               end if;
               return true;
             end $$"
        ))
        .await;
    let owners: Vec<_> = (0..40)
        .map(|number| if number % 10 == 7 { UNKNOWN } else { [MANAGER, CUSTOMER][number % 2] })
        .collect();
    let calls = owners.iter().map(async |owner| service.get_from(LIST, &[("cuRefNo", owner)]).await);
    let answers = join_all(calls).await;
    for (owner, answer) in owners.iter().zip(answers) {
        match *owner {
            UNKNOWN => answer.assert_error(status, code),
            _ => assert_eq!(answer.status, 200, "{:#}", answer.body),
        }
    }
}

/// A list whose rows are locked delays no other for long: none waits for the lock together with others.
#[tokio::test]
async fn a_list_that_waits_for_a_lock_is_read_by_itself() {
    let service = Service::start().await.taken_for_distributed();
    let mut holder = service.database.connect().await;
    let mut lock = holder.begin().await.unwrap();
    sqlx::query("lock table customer_match in access exclusive mode").execute(&mut *lock).await.unwrap();
    let owners = [MANAGER, CUSTOMER].into_iter().cycle().take(6);
    let answers = join_all(owners.map(async |owner| service.get_from(LIST, &[("cuRefNo", owner)]).await));
    let mut waits = service.database.lock_waits().await;
    let unlock = async {
        while waits.now().await.iter().filter(|wait| wait.is_of_the_pool()).count() < 4 {}
        lock.rollback().await.unwrap();
    };
    let (answers, ()) = tokio::join!(answers, unlock);
    for answer in answers {
        assert_eq!(answer.status, 200, "{:#}", answer.body);
    }
}
