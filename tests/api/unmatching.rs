//! The end of a relation (contract §2).

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{CUSTOMER, MANAGER, Service, UNMATCH};

const PAIR: &str = "1cGIHvFoQDGLAbcA>5CmsaVNgAQqRqoen kept";

async fn matched() -> Service {
    let service = Service::start().await;
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": "kept" }))
        .await
        .assert_success();
    service
}

fn call(manager: &str, customer: &str) -> Value {
    json!({ "managerCuRefNo": manager, "customerCuRefNo": customer })
}

#[rstest]
#[case::as_it_was_matched(MANAGER, CUSTOMER)]
#[case::the_other_way_round(CUSTOMER, MANAGER)]
#[tokio::test]
async fn deactivates_the_relation_and_matching_brings_it_back(#[case] manager: &str, #[case] customer: &str) {
    let service = matched().await;
    service.post_to(UNMATCH, call(manager, customer)).await.assert_success();
    assert_eq!(service.relations().await, [format!("{PAIR} (inactive)")]);
    service.post_match(call(MANAGER, CUSTOMER)).await.assert_success();
    assert_eq!(service.relations().await, [PAIR]);
}

#[tokio::test]
async fn again_succeeds_and_writes_nothing() {
    let service = matched().await;
    for _ in 0..3 {
        service.post_to(UNMATCH, call(MANAGER, CUSTOMER)).await.assert_success();
    }
    let version: i64 =
        sqlx::query_scalar("select version from customer_match").fetch_one(&service.pool).await.unwrap();
    assert_eq!(version, 2);
}

#[tokio::test]
async fn what_was_never_there_is_named() {
    let service = matched().await;
    service.add_customer("otherCustomer001", None).await;
    service.add_customer("deletedCustomer1", None).await;
    service.execute("update customer set deleted_at = now() where cu_ref_no = 'deletedCustomer1'").await;
    let descriptions = [
        service.post_to(UNMATCH, call(MANAGER, "otherCustomer001")).await,
        service.post_to(UNMATCH, call("0000000000000000", CUSTOMER)).await,
        service.post_to(UNMATCH, call(MANAGER, "0000000000000000")).await,
        service.post_to(UNMATCH, call("deletedCustomer1", MANAGER)).await,
    ]
    .map(|answer| {
        answer.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
        answer.body["error"]["description"].as_str().unwrap().to_owned()
    });
    insta::assert_json_snapshot!(descriptions, @r#"
    [
      "Relation of 1cGIHvFoQDGLAbcA and otherCustomer001",
      "Customer 0000000000000000",
      "Customer 0000000000000000",
      "Customer deletedCustomer1"
    ]
    "#);
    assert_eq!(service.relations().await, [PAIR]);
}

#[rstest]
#[case::no_manager(json!({ "customerCuRefNo": CUSTOMER }), "/managerCuRefNo")]
#[case::no_customer(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": null }), "/customerCuRefNo")]
#[case::an_address_is_not_enough(json!({ "managerCuRefNo": MANAGER, "customerEmail": "jan@barasek.com" }), "/customerCuRefNo")]
#[case::manager_with_nul(call("1cGIHvFoQDGLAbc\0", CUSTOMER), "/managerCuRefNo")]
#[case::customer_of_15(call(MANAGER, "5CmsaVNgAQqRqoe"), "/customerCuRefNo")]
#[case::with_itself(call(MANAGER, MANAGER), "/customerCuRefNo")]
#[case::with_itself_and_unknown(call("0000000000000000", "0000000000000000"), "/customerCuRefNo")]
#[tokio::test]
async fn breaks_a_rule(#[case] body: Value, #[case] field: &str) {
    let service = matched().await;
    service.post_to(UNMATCH, body).await.assert_invalid(field);
    assert_eq!(service.relations().await, [PAIR]);
}
