//! Where a key may be, and the documented order of its checks (contract §3).

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    Answer, CREATE, CUSTOMER, DETAIL, LIST, LOGOUT, MAGIC_AUTH, MANAGER, MATCH, Service, UNMATCH,
    json_request, uri,
};

const UNKNOWN: &str = "PROD0000000000000000000000000000";
const SAMPLE: &str = "PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE";

fn call() -> Value {
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER })
}

/// A match with a key in each of the three places, or none.
async fn post(service: &Service, query: Option<&str>, bearer: Option<&str>, body: Option<Value>) -> Answer {
    let mut request = json_request(&query.map_or(MATCH.into(), |key| format!("{MATCH}?apiKey={key}")));
    if let Some(key) = bearer {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let mut content = call();
    if let Some(key) = body {
        content["apiKey"] = key;
    }
    service.call(request.body(Body::from(content.to_string())).unwrap()).await
}

#[tokio::test]
async fn is_taken_from_the_query_the_bearer_header_or_the_body() {
    let service = Service::start().await;
    let key = service.key.as_str();
    post(&service, Some(key), None, None).await.assert_success();
    post(&service, None, Some(key), None).await.assert_success();
    post(&service, None, None, Some(json!(key))).await.assert_success();
}

#[tokio::test]
async fn the_first_one_present_decides() {
    let service = Service::start().await;
    let key = service.key.as_str();
    // As the documentation's own examples are sent.
    post(&service, Some(key), Some("YOUR_API_KEY"), Some(json!("nonsense"))).await.assert_success();
    post(&service, None, Some(key), Some(json!("nonsense"))).await.assert_success();
    let unknown = "PUBLIC_API_KEY_DOES_NOT_EXIST";
    post(&service, Some(UNKNOWN), Some(key), Some(json!(key))).await.assert_error(404, unknown);
    post(&service, None, Some(UNKNOWN), Some(json!(key))).await.assert_error(404, unknown);
    // An empty one is not present.
    post(&service, Some(""), Some(key), None).await.assert_success();
}

/// Whoever sent a member twice may have meant either; parameters and headers have an order.
#[tokio::test]
async fn given_twice_in_one_place() {
    let service = Service::start().await;
    let key = service.key.as_str();
    post(&service, Some(&format!("{key}&apiKey={UNKNOWN}")), None, None).await.assert_success();
    let unknown = post(&service, Some(&format!("{UNKNOWN}&apiKey={key}")), None, None).await;
    unknown.assert_error(404, "PUBLIC_API_KEY_DOES_NOT_EXIST");
    post(&service, Some(&format!("&apiKey={key}")), None, None).await.assert_success();
    let body = format!(r#"{{"apiKey":"{key}","managerCuRefNo":"{MANAGER}","apiKey":"{key}"}}"#);
    let refused = service.call(json_request(MATCH).body(Body::from(body)).unwrap()).await;
    refused.assert_invalid("/apiKey");
    assert_eq!(refused.body["error"]["description"], "Field \"apiKey\" is given twice.");
}

#[tokio::test]
async fn the_scheme_is_not_case_sensitive_and_must_be_bearer() {
    let service = Service::start().await;
    let call_with = async |authorization: String| {
        let request = json_request(MATCH).header(header::AUTHORIZATION, authorization);
        service.call(request.body(Body::from(call().to_string())).unwrap()).await
    };
    for scheme in ["bearer ", "BEARER   ", "Bearer\t", "Bearer \t "] {
        call_with(format!("{scheme}{}", service.key)).await.assert_success();
    }
    call_with(format!("Basic {}", service.key)).await.assert_error(404, "PUBLIC_API_KEY_IS_EMPTY");
}

#[rstest]
#[case::none(None, "PUBLIC_API_KEY_IS_EMPTY")]
#[case::empty(Some(""), "PUBLIC_API_KEY_IS_EMPTY")]
#[case::words(Some("YOUR_API_KEY"), "PUBLIC_API_KEY_IS_NOT_IN_VALID_FORMAT")]
#[case::hostile(Some("PROD%00%27%3B--"), "PUBLIC_API_KEY_IS_NOT_IN_VALID_FORMAT")]
#[case::sample(Some(SAMPLE), "PUBLIC_API_KEY_SAMPLE_VALUE")]
#[case::unknown(Some(UNKNOWN), "PUBLIC_API_KEY_DOES_NOT_EXIST")]
#[tokio::test]
async fn is_refused(#[case] key: Option<&str>, #[case] code: &str) {
    let service = Service::start().await;
    post(&service, key, None, None).await.assert_error(404, code);
    assert_eq!(service.count("customer_match").await, 0);
}

#[rstest]
#[case::number(json!(5))]
#[case::array(json!([UNKNOWN]))]
#[tokio::test]
async fn in_the_body_must_be_a_text(#[case] key: Value) {
    let service = Service::start().await;
    post(&service, None, None, Some(key)).await.assert_error(404, "PUBLIC_API_KEY_IS_NOT_IN_VALID_FORMAT");
}

#[rstest]
#[case::deleted(
    "deleted_at = now(), active = false, expires_at = now()",
    404,
    "PUBLIC_API_KEY_HAS_BEEN_DELETED"
)]
#[case::not_active("active = false, expires_at = now()", 404, "PUBLIC_API_KEY_IS_NOT_ACTIVE")]
#[case::expired("expires_at = now(), scopes = '{invoice}'", 404, "PUBLIC_API_KEY_HAS_BEEN_EXPIRED")]
#[case::out_of_scope("scopes = '{invoice.read,customer}'", 403, "PUBLIC_API_KEY_SCOPE_NOT_ALLOWED")]
#[tokio::test]
async fn is_checked_in_the_documented_order(#[case] state: &str, #[case] status: u16, #[case] code: &str) {
    let service = Service::start().await;
    service.execute(&format!("update api_key set {state}")).await;
    post(&service, Some(&service.key), None, None).await.assert_error(status, code);
}

#[tokio::test]
async fn with_the_right_scope_is_accepted() {
    let service = Service::start().await;
    let key = service.add_key(service.organisation, &["invoice.read", "customer.match"]).await;
    post(&service, Some(&key), None, None).await.assert_success();
}

#[tokio::test]
async fn with_unknown_scopes_only_is_refused_on_the_whole_family() {
    let service = Service::start().await;
    let key = service.add_key(service.organisation, &["invoice.read"]).await;
    for path in [MATCH, UNMATCH, CREATE, MAGIC_AUTH, LOGOUT] {
        let answer = service.post(&uri(path, &key, &[]), json!({})).await;
        answer.assert_error(403, "PUBLIC_API_KEY_SCOPE_NOT_ALLOWED");
    }
    for path in [LIST, DETAIL] {
        let answer = service.get(&uri(path, &key, &[])).await;
        answer.assert_error(403, "PUBLIC_API_KEY_SCOPE_NOT_ALLOWED");
    }
}

#[tokio::test]
async fn is_checked_before_the_body() {
    let service = Service::start().await;
    let post_raw = async |uri: &str, body: &'static str| {
        service.call(json_request(uri).body(Body::from(body)).unwrap()).await
    };
    let unknown = format!("{MATCH}?apiKey={UNKNOWN}");
    post_raw(&unknown, "not json").await.assert_error(404, "PUBLIC_API_KEY_DOES_NOT_EXIST");
    post_raw(MATCH, "not json").await.assert_error(404, "PUBLIC_API_KEY_IS_EMPTY");
    let text = Request::post(MATCH).body(Body::from("text")).unwrap();
    service.call(text).await.assert_error(404, "PUBLIC_API_KEY_IS_EMPTY");
}

#[tokio::test]
async fn the_sample_is_accepted_in_demo_mode_only() {
    let service = Service::start_in_demo_mode().await;
    customer_match::demo::set_up(&service.pool).await.unwrap();
    customer_match::demo::set_up(&service.pool).await.unwrap();
    post(&service, Some(SAMPLE), None, None).await.assert_success();
    assert_eq!(service.count("customer_match").await, 0, "it belongs to the organisation Demo");
}

#[tokio::test]
async fn a_revocation_is_seen_within_a_second() {
    let service = Service::start().await;
    post(&service, Some(&service.key), None, None).await.assert_success();
    service.execute("update api_key set deleted_at = now()").await;
    let revoked = Instant::now();
    let mut answer = post(&service, Some(&service.key), None, None).await;
    while answer.status == 200 && revoked.elapsed() < Duration::from_secs(1) {
        answer = post(&service, Some(&service.key), None, None).await;
    }
    answer.assert_error(404, "PUBLIC_API_KEY_HAS_BEEN_DELETED");
}

#[tokio::test]
async fn a_known_key_costs_no_round_trip() {
    let service = Service::start().await;
    let body = json!({});
    service.post_match(body.clone()).await.assert_invalid("/managerCuRefNo");
    service.lose_database().await;
    service.post_match(body).await.assert_invalid("/managerCuRefNo");
}
