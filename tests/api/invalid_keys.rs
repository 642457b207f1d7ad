//! The limit of calls with invalid API keys.

use customer_match::domain::{ApiKey, KeyKind};
use futures_util::future::join_all;

use crate::support::binary::{Server, on};
use crate::support::{Answer, Service, uri};

const UNKNOWN: &str = "PROD0000000000000000000000000000";
const OTHER_UNKNOWN: &str = "PROD1111111111111111111111111111";

async fn ping(service: &Service, key: &str) -> Answer {
    service.get(&uri("/ping/v1", key, &[])).await
}

#[tokio::test]
async fn too_many_invalid_keys_are_answered_429() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "2"]).await;
    ping(&service, UNKNOWN).await.assert_error(404, "PUBLIC_API_KEY_DOES_NOT_EXIST");
    ping(&service, "YOUR_API_KEY").await.assert_error(404, "PUBLIC_API_KEY_IS_NOT_IN_VALID_FORMAT");
    let rejected = ping(&service, OTHER_UNKNOWN).await;
    insta::assert_json_snapshot!(rejected.snapshot(), @r#"
    {
      "body": {
        "error": {
          "code": "PUBLIC_API_KEY_TOO_MANY_REQUEST",
          "description": "Too many calls with invalid API keys came from your IP address. Please retry later.",
          "message": "Too many requests"
        }
      },
      "status": 429
    }
    "#);
    let seconds: u64 = rejected.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert!(!rejected.headers.contains_key("x-ratelimit-limit"), "only valid keys have these headers");
    ping(&service, "OTHER_API_KEY").await.assert_error(429, "PUBLIC_API_KEY_TOO_MANY_REQUEST");
    ping(&service, "").await.assert_error(404, "PUBLIC_API_KEY_IS_EMPTY");
}

/// As a client does that is not stopped when its key expires.
#[tokio::test]
async fn a_repeated_invalid_key_counts_once() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "2"]).await;
    for _ in 0..5 {
        ping(&service, UNKNOWN).await.assert_error(404, "PUBLIC_API_KEY_DOES_NOT_EXIST");
        ping(&service, "YOUR_API_KEY").await.assert_error(404, "PUBLIC_API_KEY_IS_NOT_IN_VALID_FORMAT");
    }
    ping(&service, OTHER_UNKNOWN).await.assert_error(429, "PUBLIC_API_KEY_TOO_MANY_REQUEST");
    ping(&service, UNKNOWN).await.assert_error(404, "PUBLIC_API_KEY_DOES_NOT_EXIST");
}

#[tokio::test]
async fn invalid_keys_count_on_unknown_paths_too() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "2"]).await;
    let nowhere = async |key: &str| service.get(&uri("/nowhere", key, &[])).await;
    nowhere(UNKNOWN).await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    nowhere("YOUR_API_KEY").await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    nowhere(OTHER_UNKNOWN).await.assert_error(429, "PUBLIC_API_KEY_TOO_MANY_REQUEST");
    nowhere(&service.key).await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    service.get("/nowhere").await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
}

/// Many clients may share an IP address, and one of them may try keys.
#[tokio::test]
async fn a_valid_key_is_never_rejected_because_of_invalid_ones() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    ping(&service, UNKNOWN).await.assert_error(404, "PUBLIC_API_KEY_DOES_NOT_EXIST");
    ping(&service, OTHER_UNKNOWN).await.assert_error(429, "PUBLIC_API_KEY_TOO_MANY_REQUEST");
    ping(&service, &service.key).await.assert_success();
    let created_later = service.add_key(service.organisation, &[]).await;
    ping(&service, &created_later).await.assert_success();
    ping(&service, OTHER_UNKNOWN).await.assert_error(429, "PUBLIC_API_KEY_TOO_MANY_REQUEST");
}

#[tokio::test]
async fn valid_keys_do_not_count() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    for _ in 0..3 {
        let key = service.add_key(service.organisation, &[]).await;
        ping(&service, &key).await.assert_success();
    }
}

#[tokio::test]
async fn many_valid_keys_at_once_do_not_count() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    let mut keys = Vec::new();
    for _ in 0..20 {
        keys.push(service.add_key(service.organisation, &[]).await);
    }
    for answer in join_all(keys.iter().map(|key| ping(&service, key))).await {
        answer.assert_success();
    }
}

#[tokio::test]
async fn one_valid_key_in_many_calls_at_once_does_not_count() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    for answer in join_all((0..20).map(|_| ping(&service, &service.key))).await {
        answer.assert_success();
    }
}

/// More keys than a query has room for.
#[tokio::test]
async fn many_invalid_keys_at_once_delay_no_valid_one() {
    let service = Service::start().await;
    let invalid: Vec<_> = (0..600).map(|number| format!("PROD{number:028}")).collect();
    let tries = join_all(invalid.iter().map(|key| ping(&service, key)));
    let (answers, valid) = futures_util::future::join(tries, ping(&service, &service.key)).await;
    valid.assert_success();
    let statuses = [404, 429].map(|status| answers.iter().filter(|answer| answer.status == status).count());
    assert_eq!(statuses, [60, 540]);
}

#[tokio::test]
async fn lookups_that_fail_do_not_count() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    service.lose_database().await;
    for _ in 0..2 {
        ping(&service, UNKNOWN).await.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
    }
}

/// The status of a call with another invalid key that claims to be forwarded for this client.
async fn try_invalid_key(server: &Server, forwarded_for: &str) -> u16 {
    let key = ApiKey::generate(KeyKind::Prod);
    let request = reqwest::Client::new().get(format!("{}/ping/v1?apiKey={}", server.url, key.expose()));
    request.header("x-forwarded-for", forwarded_for).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn clients_are_told_apart_by_a_trusted_proxy_only() {
    let service = Service::start().await;
    let serve = |more: &[&str]| {
        let flags = ["serve", "--listen", "127.0.0.1:0", "--invalid-key-limit-per-minute", "1"];
        Server::start(on(&service.database, &[&flags[..], more].concat()))
    };
    let trusting = serve(&["--trusted-proxy", "127.0.0.0/8"]);
    assert_eq!(try_invalid_key(&trusting, "192.0.2.1").await, 404);
    assert_eq!(try_invalid_key(&trusting, "192.0.2.2").await, 404);
    assert_eq!(
        try_invalid_key(&trusting, "192.0.2.3, 192.0.2.2").await,
        429,
        "a client can forge the left one"
    );

    let suspicious = serve(&[]);
    assert_eq!(try_invalid_key(&suspicious, "192.0.2.1").await, 404);
    assert_eq!(try_invalid_key(&suspicious, "192.0.2.2").await, 429);
}
