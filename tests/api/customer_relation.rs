//! One relation by itself (contract §2).

use axum::body::Body;
use axum::http::{Request, header};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Answer, CUSTOMER, MANAGER, RELATION, Service, UNMATCH, uri};

const PAIR: [(&str, &str); 2] = [("managerCuRefNo", MANAGER), ("customerCuRefNo", CUSTOMER)];

async fn matched() -> Service {
    let service = Service::start().await;
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": "a" }))
        .await
        .assert_success();
    service
}

async fn get(service: &Service, if_none_match: &str) -> Answer {
    let request =
        Request::get(uri(RELATION, &service.key, &PAIR)).header(header::IF_NONE_MATCH, if_none_match);
    service.call(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn shows_the_relation_and_its_version() {
    let service = matched().await;
    let answer = service.get_from(RELATION, &PAIR).await;
    assert_eq!((answer.status, &answer.headers[header::ETAG]), (200, &"\"1\"".parse().unwrap()));
    let times = |name| answer.body["relation"][name].clone();
    assert_eq!((times("createdAt"), times("createdAt")), (times("matchedAt"), times("updatedAt")));
    let mut body = answer.body.clone();
    for name in ["createdAt", "matchedAt", "updatedAt"] {
        body["relation"].as_object_mut().unwrap().remove(name).unwrap();
    }
    insta::assert_json_snapshot!(body, @r#"
    {
      "relation": {
        "active": true,
        "customerCuRefNo": "5CmsaVNgAQqRqoen",
        "endedAt": null,
        "managerCuRefNo": "1cGIHvFoQDGLAbcA",
        "notice": "a",
        "role": "customer",
        "version": 1
      },
      "success": true
    }
    "#);
}

#[tokio::test]
async fn shows_one_that_has_ended() {
    let service = matched().await;
    let before = service.get_from(RELATION, &PAIR).await.body["relation"].clone();
    let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": "" });
    service.post_match(pair.clone()).await.assert_success();
    service.post_to(UNMATCH, pair.clone()).await.assert_success();
    let answer = service.get_from(RELATION, &PAIR).await;
    let ended = &answer.body["relation"];
    assert_eq!(
        (&ended["active"], &ended["notice"], &ended["version"]),
        (&json!(false), &Value::Null, &json!(3))
    );
    assert_eq!(answer.headers[header::ETAG], "\"3\"");
    assert_eq!((&ended["endedAt"], &ended["matchedAt"]), (&ended["updatedAt"], &before["matchedAt"]));

    service.post_match(pair).await.assert_success();
    let again = &service.get_from(RELATION, &PAIR).await.body["relation"];
    assert_eq!((&again["active"], &again["endedAt"]), (&json!(true), &Value::Null));
    assert_eq!((&again["createdAt"], &again["matchedAt"]), (&before["createdAt"], &again["updatedAt"]));
}

#[tokio::test]
async fn the_order_of_the_two_decides_the_role() {
    let service = matched().await;
    let sides = async || {
        let mut sides = Vec::new();
        for (manager, customer) in [(MANAGER, CUSTOMER), (CUSTOMER, MANAGER)] {
            let pair = [("managerCuRefNo", manager), ("customerCuRefNo", customer)];
            let relation = service.get_from(RELATION, &pair).await.body["relation"].clone();
            assert_eq!(
                (&relation["managerCuRefNo"], &relation["customerCuRefNo"]),
                (&json!(manager), &json!(customer))
            );
            sides.push(relation["role"].clone());
        }
        sides
    };
    assert_eq!(sides().await, ["customer", "manager"]);
    service
        .post_match(json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER }))
        .await
        .assert_success();
    assert_eq!(sides().await, ["both", "both"]);
}

#[tokio::test]
async fn is_304_while_the_version_is_known() {
    let service = matched().await;
    for (known, status) in
        [("\"1\"", 304), ("W/\"1\"", 304), ("\"7\", \"1\"", 304), ("*", 304), ("\"2\"", 200)]
    {
        let answer = get(&service, known).await;
        assert_eq!(
            (answer.status, &answer.headers[header::ETAG]),
            (status, &"\"1\"".parse().unwrap()),
            "{known}"
        );
        assert_eq!(answer.body == Value::Null, status == 304);
    }
    get(&service, "1").await.assert_error(400, "INTERNAL_VALIDATION_FAILED");
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": "b" }))
        .await
        .assert_success();
    assert_eq!(get(&service, "\"1\"").await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let service = matched().await;
    service.add_customer("otherCustomer001", None).await;
    for (manager, customer) in
        [(MANAGER, "otherCustomer001"), (MANAGER, "0000000000000000"), ("0000000000000000", CUSTOMER)]
    {
        let pair = [("managerCuRefNo", manager), ("customerCuRefNo", customer)];
        let answer = service.get_from(RELATION, &pair).await;
        answer.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
        let expected = format!("Relation of {manager} and {customer}");
        assert_eq!(answer.body["error"]["description"], expected);
        assert!(!answer.headers.contains_key(header::ETAG));
    }
    // Its relation is there, and ended.
    service.delete_customer(CUSTOMER).await;
    service.get_from(RELATION, &PAIR).await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
}

#[rstest]
#[case::no_manager(&[("customerCuRefNo", CUSTOMER)], "managerCuRefNo")]
#[case::no_customer(&[("managerCuRefNo", MANAGER)], "customerCuRefNo")]
#[case::customer_of_15(&[("managerCuRefNo", MANAGER), ("customerCuRefNo", "5CmsaVNgAQqRqoe")], "customerCuRefNo")]
#[case::with_itself(&[("managerCuRefNo", MANAGER), ("customerCuRefNo", MANAGER)], "customerCuRefNo")]
#[tokio::test]
async fn breaks_a_rule(#[case] parameters: &[(&str, &str)], #[case] field: &str) {
    let answer = matched().await.get_from(RELATION, parameters).await;
    answer.assert_invalid(field);
    assert_eq!(answer.body["error"]["errors"].as_array().unwrap().len(), 1);
}
