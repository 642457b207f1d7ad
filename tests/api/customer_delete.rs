//! `customer-match customer delete`: gone for everybody, from both sides.

use std::sync::Arc;

use customer_match::db::customer_delete;
use customer_match::domain::{CuRefNo, ProfileText};
use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::binary::{on, run, run_json, run_refused};
use crate::support::{CUSTOMER, LIST, MANAGER, Service};

const OTHER: &str = "otherCustomer001";

#[tokio::test]
async fn hides_the_customer_and_its_relations() {
    let service = Service::start().await;
    for other in [OTHER, "otherCustomer002"] {
        service.add_customer(other, None).await;
        service
            .post_match(json!({ "managerCuRefNo": other, "customerCuRefNo": CUSTOMER }))
            .await
            .assert_success();
    }
    service
        .post_match(json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER }))
        .await
        .assert_success();
    service.post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": OTHER })).await.assert_success();

    let delete = ["customer", "delete", CUSTOMER, "--organisation", "1", "--reason", "asked for it", "--yes"];
    let deleted = run_json(on(&service.database, &[&delete[..], &["--format", "json"]].concat()));
    assert_eq!(
        deleted,
        json!({ "cuRefNo": CUSTOMER, "deleted": true, "relationsDeactivated": 3, "mergedFrom": [] })
    );
    assert_eq!(
        service.relations().await,
        [
            "1cGIHvFoQDGLAbcA<5CmsaVNgAQqRqoen (inactive)",
            "1cGIHvFoQDGLAbcA>otherCustomer001",
            "5CmsaVNgAQqRqoen<otherCustomer001 (inactive)",
            "5CmsaVNgAQqRqoen<otherCustomer002 (inactive)",
        ]
    );
    let stored: (bool, String) =
        sqlx::query_as("select deleted_at <= now(), deletion_reason from customer where cu_ref_no = $1")
            .bind(CUSTOMER)
            .fetch_one(&service.pool)
            .await
            .unwrap();
    assert_eq!(stored, (true, "asked for it".into()));
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }))
        .await
        .assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");

    let again = run_refused(on(&service.database, &delete));
    assert_eq!(again, "error: customer 5CmsaVNgAQqRqoen is deleted already\n");
}

#[tokio::test]
async fn sessions_end_and_the_other_side_sees_nothing() {
    let service = Service::start().await;
    service.add_customer(OTHER, Some("other@example.com")).await;
    service
        .post_match(json!({ "managerCuRefNo": OTHER, "customerCuRefNo": CUSTOMER }))
        .await
        .assert_success();
    let theirs = service.log_in("jan@barasek.com").await;
    let others = service.log_in("other@example.com").await;
    let listed = async |identity: &str| service.get_from(LIST, &[("identityId", identity)]).await;
    assert_eq!(
        (listed(&theirs).await.body["itemCount"].as_i64(), listed(&others).await.status),
        (Some(1), 200)
    );

    let delete = ["customer", "delete", CUSTOMER, "--organisation", "1", "--reason", "asked for it", "--yes"];
    run(on(&service.database, &delete));
    listed(&theirs).await.assert_error(401, "INTERNAL_USER_MUST_BE_AUTHORIZED");
    assert_eq!(listed(&others).await.body["items"], json!([]));
    // Whoever logs in with the address is somebody else.
    let new = service.log_in("jan@barasek.com").await;
    assert_eq!(listed(&new).await.body["items"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_deleted_is_told_in_one_line() {
    let service = Service::start().await;
    let (other, _) = service.add_organisation("Other").await;
    let other = other.to_string();
    let delete = |cu_ref_no, organisation: &str, more: &[&str]| {
        let arguments = ["customer", "delete", cu_ref_no, "--organisation", organisation, "--reason", "test"];
        run_refused(on(&service.database, &[&arguments[..], more].concat()))
    };
    assert_eq!(
        delete("nobodyHasThisOne", "1", &["--yes"]),
        "error: organisation 1 has no customer nobodyHasThisOne\n"
    );
    assert_eq!(
        delete(CUSTOMER, &other, &["--yes"]),
        format!("error: organisation 2 has no customer {CUSTOMER}\n")
    );
    assert_eq!(
        delete(CUSTOMER, "1", &[]),
        "error: this cannot be undone, and there is no terminal for a confirmation: pass --yes to confirm\n"
    );
    assert_eq!(living(&service).await, 2);
}

/// Who erases a person has to know all its customers.
#[tokio::test]
async fn the_customers_that_were_merged_into_it_are_named() {
    let service = Service::start().await;
    for legacy in [OTHER, "otherCustomer002"] {
        service.add_customer(legacy, None).await;
        run(on(&service.database, &["customer", "merge", legacy, CUSTOMER, "--organisation", "1", "--yes"]));
    }
    let delete = ["customer", "delete", CUSTOMER, "--organisation", "1", "--reason", "asked for it", "--yes"];
    assert_eq!(
        run(on(&service.database, &delete)),
        format!(
            "Customer {CUSTOMER} is deleted; 0 active relation(s) were deactivated. \
             It had been merged from {OTHER}, otherCustomer002, which are the same person.\n"
        )
    );
}

/// A `YES` that is left in the environment of a service must not confirm deletions.
#[tokio::test]
async fn the_environment_confirms_nothing() {
    let service = Service::start().await;
    let mut delete =
        on(&service.database, &["customer", "delete", CUSTOMER, "--organisation", "1", "--reason", "test"]);
    delete.env("CUSTOMER_MATCH_YES", "1");
    let error = run_refused(delete);
    assert!(error.contains("pass --yes to confirm"), "{error}");
    assert_eq!(living(&service).await, 2);
}

async fn living(service: &Service) -> i64 {
    sqlx::query_scalar("select count(*) from customer where deleted_at is null")
        .fetch_one(&service.pool)
        .await
        .unwrap()
}

/// Every match that was acknowledged before the deletion is deactivated by it, every later one refused: those of new
/// relations, and those of relations that were there and had ended.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn matches_that_race_with_a_deletion_leave_nothing_active(#[values(false, true)] ended: bool) {
    let service = Arc::new(Service::start().await);
    let manager = |i: u32| format!("customer{i:08}");
    for i in 0..100 {
        service.add_customer(&manager(i), None).await;
        if ended {
            let body = json!({ "managerCuRefNo": manager(i), "customerCuRefNo": CUSTOMER });
            service.post_match(body).await.assert_success();
        }
    }
    service.execute("update customer_match set deactivated_at = now(), updated_at = now()").await;
    let mut matches = JoinSet::new();
    for i in 0..100 {
        let body = json!({ "managerCuRefNo": manager(i), "customerCuRefNo": CUSTOMER });
        let service = Arc::clone(&service);
        matches.spawn(async move { service.post_match(body).await.status });
    }
    let (cu_ref_no, reason) = (CuRefNo::parse(CUSTOMER).unwrap(), ProfileText::parse("race").unwrap());
    // Somewhere in the middle.
    let mut statuses = Vec::new();
    while matches.len() > 60 {
        statuses.push(matches.join_next().await.unwrap().unwrap());
    }
    let deleted =
        customer_delete::delete(&service.pool, service.organisation, &cu_ref_no, &reason).await.unwrap();
    let relations = deleted.relations;
    statuses.extend(matches.join_all().await);
    let made = statuses.iter().filter(|status| **status == 200).count() as i64;
    assert_eq!(made, relations, "what was acknowledged before is deactivated, and nothing came after");
    assert!(made >= 40 && statuses.iter().all(|status| [200, 404].contains(status)), "{statuses:?}");
    assert!(service.relations().await.iter().all(|relation| relation.ends_with("(inactive)")));
}
