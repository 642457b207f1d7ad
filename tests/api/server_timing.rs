//! The header that says where the time of a request went.

use axum::http::HeaderMap;
use customer_match::db::api_key::{self, NewKey};
use customer_match::domain::{ApiKey, KeyKind};
use serde_json::{Value, json};

use crate::support::{CUSTOMER, LIST, MANAGER, MATCH, Service, json_request};

fn pair() -> Value {
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER })
}

/// The steps of the header, in its order.
fn steps(headers: &HeaderMap) -> Vec<(String, f64)> {
    let header = headers["server-timing"].to_str().unwrap();
    let step = |step: &str| {
        let (name, took) = step.split_once(";dur=").unwrap();
        (name.to_owned(), took.parse().unwrap())
    };
    header.split(", ").map(step).collect()
}

#[tokio::test]
async fn the_steps_are_named_and_add_up() {
    let service = Service::start_configured(&["--server-timing"]).await;
    let matched = service.post_match(pair()).await;
    let listed = service.get_from(LIST, &[("cuRefNo", MANAGER)]).await;
    let rejected = service.get("/nowhere").await;
    let expected = [&["queue", "statement", "commit", "total"][..], &["pool", "read", "total"], &["total"]];
    for (answer, expected) in [matched, listed, rejected].into_iter().zip(expected) {
        let steps = steps(&answer.headers);
        assert_eq!(steps.iter().map(|(name, _)| name).collect::<Vec<_>>(), expected);
        let (total, parts) = steps.split_last().unwrap();
        let sum: f64 = parts.iter().map(|(_, took)| took).sum();
        // Each is rounded.
        assert!(sum <= total.1 + 0.003, "{steps:?}");
    }
}

#[tokio::test]
async fn it_is_off_unless_asked_for() {
    let service = Service::start().await;
    assert!(!service.post_match(pair()).await.headers.contains_key("server-timing"));
}

/// It would tell whether the customer exists.
#[tokio::test]
async fn a_publishable_key_does_not_get_it() {
    let service = Service::start_configured(&["--server-timing"]).await;
    let key = ApiKey::generate(KeyKind::Prod);
    let (scopes, allowed_origins) = (["customer.match".to_owned()], ["https://app.example".to_owned()]);
    let new = NewKey {
        scopes: &scopes,
        allowed_origins: &allowed_origins,
        client_limit_per_minute: Some(60),
        ..NewKey::default()
    };
    api_key::create(&service.pool, service.organisation, &key, &new).await.unwrap().unwrap();
    let uri = format!("{MATCH}?apiKey={}", key.expose());
    for origin in ["https://app.example", "https://other.example"] {
        let call = json_request(&uri).header("origin", origin).body(pair().to_string().into()).unwrap();
        let answer = service.call(call).await;
        assert!(!answer.headers.contains_key("server-timing"), "{:#}", answer.body);
    }
}
