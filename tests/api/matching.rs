//! What a match does (contract §1).

use serde_json::json;

use crate::support::{CUSTOMER, MANAGER, Service, one_way};

#[tokio::test]
async fn the_documented_call_writes_one_row() {
    let service = Service::start_in_demo_mode().await;
    let body = json!({
        "managerCuRefNo": "1cGIHvFoQDGLAbcA", "customerCuRefNo": "5CmsaVNgAQqRqoen", "customerEmail": "jan@barasek.com",
        "notice": "Customer prefers cardio training. Contact obtained via the website.",
    });
    service.post_match(body).await.assert_success();
    assert_eq!(
        service.relations().await,
        [
            "1cGIHvFoQDGLAbcA>5CmsaVNgAQqRqoen Customer prefers cardio training. Contact obtained via the website."
        ]
    );
}

#[tokio::test]
async fn posted_again_is_the_same_relation() {
    let service = Service::start().await;
    for _ in 0..3 {
        service
            .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }))
            .await
            .assert_success();
    }
    assert_eq!(service.relations().await, ["1cGIHvFoQDGLAbcA>5CmsaVNgAQqRqoen"]);
    let version: i64 =
        sqlx::query_scalar("select version from customer_match").fetch_one(&service.pool).await.unwrap();
    assert_eq!(version, 1, "nothing was written the second time");
}

#[tokio::test]
async fn posted_in_the_other_direction_both_are_managers() {
    let service = Service::start().await;
    service
        .post_match(json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER }))
        .await
        .assert_success();
    assert_eq!(service.relations().await, ["1cGIHvFoQDGLAbcA<5CmsaVNgAQqRqoen"]);
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }))
        .await
        .assert_success();
    assert_eq!(service.relations().await, ["1cGIHvFoQDGLAbcA<>5CmsaVNgAQqRqoen"]);
}

#[tokio::test]
async fn a_notice_is_replaced_kept_or_cleared() {
    let service = Service::start().await;
    let pair = ["1cGIHvFoQDGLAbcA>5CmsaVNgAQqRqoen".to_owned()];
    let with = |notice: &str| vec![format!("{} {notice}", pair[0])];
    let post = async |body: serde_json::Value| {
        service.post_match(body).await.assert_success();
        service.relations().await
    };
    let call = |notice| json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": notice });

    assert_eq!(post(call(json!(" first\r\nline "))).await, with("first\nline"));
    assert_eq!(post(call(json!(null))).await, with("first\nline"), "null keeps it");
    let absent = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    assert_eq!(post(absent).await, with("first\nline"), "absence keeps it");
    assert_eq!(post(call(json!("second"))).await, with("second"));
    let reversed = json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER });
    assert_eq!(post(reversed).await, ["1cGIHvFoQDGLAbcA<>5CmsaVNgAQqRqoen second"], "the notice is shared");
    assert_eq!(
        post(call(json!(""))).await,
        ["1cGIHvFoQDGLAbcA<>5CmsaVNgAQqRqoen"],
        "the empty text clears it"
    );
}

#[tokio::test]
async fn a_deactivated_relation_becomes_active_again() {
    let service = Service::start().await;
    let call = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": "kept" });
    service.post_match(call).await.assert_success();
    service.execute("update customer_match set deactivated_at = now(), updated_at = now()").await;
    assert_eq!(service.relations().await, ["1cGIHvFoQDGLAbcA>5CmsaVNgAQqRqoen kept (inactive)"]);
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }))
        .await
        .assert_success();
    assert_eq!(service.relations().await, ["1cGIHvFoQDGLAbcA>5CmsaVNgAQqRqoen kept"]);
}

#[tokio::test]
async fn the_reference_decides_over_the_address() {
    let service = Service::start().await;
    service.add_customer("otherCustomer001", Some("other@example.com")).await;
    let body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "customerEmail": "other@example.com" });
    service.post_match(body).await.assert_success();
    assert_eq!(service.relations().await, ["1cGIHvFoQDGLAbcA>5CmsaVNgAQqRqoen"]);

    let unknown = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": "0000000000000000", "customerEmail": "new@example.com" });
    service.post_match(unknown).await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    assert_eq!(service.count("customer").await, 3, "no fall-back to the address");
}

#[tokio::test]
async fn an_address_is_found_by_its_normal_form() {
    let service = Service::start().await;
    let body = json!({ "managerCuRefNo": MANAGER, "customerEmail": " Jan@Barasek.COM " });
    service.post_match(body).await.assert_success();
    assert_eq!(service.relations().await, ["1cGIHvFoQDGLAbcA>5CmsaVNgAQqRqoen"]);
    assert_eq!(service.count("customer").await, 2);
}

#[tokio::test]
async fn an_unknown_address_becomes_a_guest() {
    let service = Service::start().await;
    for spelling in ["Eva@BÜCHER.de", "eva@xn--bcher-kva.de"] {
        service
            .post_match(json!({ "managerCuRefNo": MANAGER, "customerEmail": spelling }))
            .await
            .assert_success();
    }
    let guests: Vec<(String, String)> =
        sqlx::query_as("select cu_ref_no, email from customer where cu_ref_no not in ($1, $2)")
            .bind(MANAGER)
            .bind(CUSTOMER)
            .fetch_all(&service.pool)
            .await
            .unwrap();
    let [(cu_ref_no, email)] = guests.as_slice() else { panic!("one guest, not {guests:?}") };
    assert_eq!(email, "eva@xn--bcher-kva.de");
    assert_eq!(service.relations().await, [one_way(MANAGER, cu_ref_no)]);
}

#[tokio::test]
async fn a_deleted_customer_is_not_found_and_its_address_is_free() {
    let service = Service::start().await;
    service.execute("update customer set deleted_at = now() where email = 'jan@barasek.com'").await;
    let by_reference =
        service.post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER })).await;
    by_reference.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    let as_manager =
        service.post_match(json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER })).await;
    as_manager.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    assert_eq!(service.count("customer_match").await, 0);

    let by_address = json!({ "managerCuRefNo": MANAGER, "customerEmail": "jan@barasek.com" });
    service.post_match(by_address).await.assert_success();
    assert_eq!(service.count("customer").await, 3, "somebody else has this address now");
}

#[tokio::test]
async fn a_customer_cannot_be_matched_with_itself() {
    let service = Service::start().await;
    let by_reference = json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": CUSTOMER });
    service.post_match(by_reference).await.assert_invalid("/customerCuRefNo");
    let by_address = json!({ "managerCuRefNo": CUSTOMER, "customerEmail": "JAN@barasek.com" });
    service.post_match(by_address).await.assert_invalid("/customerEmail");
    assert_eq!(service.count("customer_match").await, 0);
}

#[tokio::test]
async fn a_missing_customer_is_named_and_nothing_is_left_behind() {
    let service = Service::start().await;
    let no_manager = json!({ "managerCuRefNo": "0000000000000000", "customerEmail": "guest@example.com" });
    let answer = service.post_match(no_manager).await;
    insta::assert_json_snapshot!(answer.snapshot(), @r#"
    {
      "body": {
        "error": {
          "code": "INTERNAL_RESOURCE_NOT_FOUND",
          "description": "Customer 0000000000000000",
          "message": "Resource not found."
        }
      },
      "status": 404
    }
    "#);
    assert_eq!(service.count("customer").await, 2, "no guest of a call that fails");
}

#[tokio::test]
async fn another_organisation_looks_like_nobody() {
    let service = Service::start().await;
    let (other, other_key) = service.add_organisation("Other").await;
    service.add_customer_of(other, "onlyInTheOther01", Some("secret@example.com")).await;

    let foreign =
        service.post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": "onlyInTheOther01" })).await;
    let missing =
        service.post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": "nobodyHasThisOne" })).await;
    assert_eq!(foreign.status, missing.status);
    assert_eq!(
        foreign.body.to_string().replace("onlyInTheOther01", "nobodyHasThisOne"),
        missing.body.to_string(),
        "the answer is the same whether another organisation has that customer or not"
    );

    // The same address in both is two customers.
    let body = json!({ "managerCuRefNo": MANAGER, "customerEmail": "secret@example.com" });
    service.post_match(body).await.assert_success();
    assert_eq!(service.count("customer").await, 3);
    let uri = format!("{}?apiKey={other_key}", crate::support::MATCH);
    let crossed = service
        .post(&uri, json!({ "managerCuRefNo": "onlyInTheOther01", "customerCuRefNo": CUSTOMER }))
        .await;
    crossed.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let service = Service::start().await;
    let body =
        json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "futureField": { "a": [1, null] } });
    service.post_match(body).await.assert_success();
}
