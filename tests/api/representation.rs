//! `Prefer: return=representation` on a match (contract §1).

use axum::body::Body;
use serde_json::{Value, json};

use crate::support::{Answer, CUSTOMER, MANAGER, MATCH, Service, UNMATCH, json_request};

async fn post(service: &Service, prefer: &str, body: Value) -> Answer {
    let request = json_request(&format!("{MATCH}?apiKey={}", service.key)).header("prefer", prefer);
    service.call(request.body(Body::from(body.to_string())).unwrap()).await
}

/// The answer, without the times, which must be as documented.
async fn represented(service: &Service, body: Value) -> Value {
    let mut answer = post(service, "return=representation", body).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    assert_eq!(answer.headers["preference-applied"], "return=representation");
    let version = answer.body["relation"]["version"].as_i64().unwrap();
    assert_eq!(answer.headers["etag"], format!("\"{version}\""));
    for name in ["createdAt", "matchedAt", "updatedAt"] {
        let time = answer.body["relation"].as_object_mut().unwrap().remove(name).unwrap();
        let time = time.as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
    }
    answer.body
}

#[tokio::test]
async fn shows_the_relation_and_what_happened_to_it() {
    let service = Service::start().await;
    let call = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": " a " });
    let created = represented(&service, call.clone()).await;
    insta::assert_json_snapshot!(created, @r#"
    {
      "customerCreated": false,
      "outcome": "created",
      "relation": {
        "active": true,
        "customerCuRefNo": "5CmsaVNgAQqRqoen",
        "customerEmail": "jan@barasek.com",
        "endedAt": null,
        "managerCuRefNo": "1cGIHvFoQDGLAbcA",
        "notice": "a",
        "role": "customer",
        "version": 1
      },
      "success": true
    }
    "#);

    let outcome = async |body: Value| represented(&service, body).await["outcome"].clone();
    assert_eq!(outcome(call.clone()).await, "unchanged");
    let reverse = json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER });
    assert_eq!(outcome(reverse).await, "updated");
    service.post_to(UNMATCH, call.clone()).await.assert_success();
    assert_eq!(outcome(call).await, "reactivated");
}

#[tokio::test]
async fn names_the_sides_as_the_call_did() {
    let service = Service::start().await;
    let reverse = json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER, "notice": "a" });
    let relation = represented(&service, reverse.clone()).await["relation"].clone();
    assert_eq!(
        (&relation["managerCuRefNo"], &relation["customerCuRefNo"]),
        (&json!(CUSTOMER), &json!(MANAGER))
    );
    assert_eq!((&relation["customerEmail"], &relation["notice"]), (&Value::Null, &json!("a")));
    let cleared = json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER, "notice": "" });
    assert_eq!(represented(&service, cleared).await["relation"]["notice"], Value::Null);
}

#[tokio::test]
async fn tells_of_a_guest() {
    let service = Service::start().await;
    let call = json!({ "managerCuRefNo": MANAGER, "customerEmail": "Guest@Example.com" });
    let answer = represented(&service, call.clone()).await;
    assert_eq!((&answer["customerCreated"], &answer["outcome"]), (&json!(true), &json!("created")));
    assert_eq!(answer["relation"]["customerEmail"], "guest@example.com");
    assert_eq!(represented(&service, call).await["customerCreated"], false);
}

#[tokio::test]
async fn other_preferences_change_nothing() {
    let service = Service::start().await;
    let call = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    for prefer in ["", "return=minimal", "return=minimal, return=representation", "respond-async", "\"", "é"]
    {
        let answer = post(&service, prefer, call.clone()).await;
        answer.assert_success();
        assert!(!answer.headers.contains_key("preference-applied") && !answer.headers.contains_key("etag"));
    }
}
