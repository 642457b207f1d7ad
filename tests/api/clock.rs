//! Times of a row never go back, though the clock may: here every row was written tomorrow.

use customer_match::db::{customer_delete, customer_merge};
use customer_match::domain::{CuRefNo, ProfileText};
use serde_json::json;

use crate::support::{CUSTOMER, LIST, LOGOUT, MANAGER, Service, UNMATCH};

const OTHER: &str = "otherCustomer001";

/// The manager matched with both others, and the customer logged in. The constraints demand the order of times.
async fn written_tomorrow() -> (Service, String) {
    let service = Service::start().await;
    service.add_customer(OTHER, None).await;
    for customer in [CUSTOMER, OTHER] {
        let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": customer });
        service.post_match(pair).await.assert_success();
    }
    let identity = service.log_in("jan@barasek.com").await;
    service
        .execute(
            "update customer set created_at = now() + '1 day', updated_at = now() + '1 day';
             update customer_match set
                 created_at = now() + '1 day', matched_at = now() + '1 day', updated_at = now() + '1 day';
             update customer_identity set created_at = now() + '1 day'",
        )
        .await;
    (service, identity)
}

/// Whether each change is later than what was there, of relations and of customers.
async fn assert_all_later(service: &Service) {
    let earlier: i64 = sqlx::query_scalar(
        "select (select count(*) from customer_match where updated_at < now() + '23 h')
              + (select count(*) from customer where deleted_at < created_at or updated_at < now() + '23 h')",
    )
    .fetch_one(&service.pool)
    .await
    .unwrap();
    assert_eq!(earlier, 0);
}

fn reference(text: &str) -> CuRefNo {
    CuRefNo::parse(text).unwrap()
}

#[tokio::test]
async fn a_relation_that_ends_and_begins_again_moves_on() {
    let (service, _) = written_tomorrow().await;
    let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    for _ in 0..2 {
        service.post_to(UNMATCH, pair.clone()).await.assert_success();
        assert_all_later(&service).await;
        service.post_match(pair.clone()).await.assert_success();
        assert_all_later(&service).await;
    }
}

#[tokio::test]
async fn a_deletion_is_later_than_the_customer() {
    let (service, _) = written_tomorrow().await;
    let reason = ProfileText::parse("test").unwrap();
    let deleted =
        customer_delete::delete(&service.pool, service.organisation, &reference(MANAGER), &reason).await;
    assert_eq!(deleted.unwrap().relations, 2);
    assert_all_later(&service).await;
}

#[tokio::test]
async fn a_merge_is_later_than_both() {
    let (service, _) = written_tomorrow().await;
    let (legacy, survivor) = (&reference(CUSTOMER), &reference(OTHER));
    let wanted = customer_merge::Merge { organisation_id: service.organisation, legacy, survivor };
    assert_eq!(customer_merge::merge(&service.pool, wanted).await.unwrap().relations, 1);
    assert_all_later(&service).await;
}

#[tokio::test]
async fn a_session_can_end() {
    let (service, identity) = written_tomorrow().await;
    service.post_to(LOGOUT, json!({ "identityId": identity })).await.assert_success();
    let listed = service.get_from(LIST, &[("identityId", &identity)]).await;
    listed.assert_error(401, "INTERNAL_USER_MUST_BE_AUTHORIZED");
}
