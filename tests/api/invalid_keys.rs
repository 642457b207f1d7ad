//! Whoever tries keys that do not exist: how often, and at whose expense.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::binary::{Server, on};
use crate::support::{Answer, Service, uri};

const UNKNOWN: &str = "PROD0000000000000000000000000000";

async fn ping(service: &Service, key: &str) -> Answer {
    service.get(&uri("/ping/v1", key, &[])).await
}

#[tokio::test]
async fn too_many_guesses_are_refused() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "2"]).await;
    ping(&service, UNKNOWN).await.assert_error(404, "PUBLIC_API_KEY_DOES_NOT_EXIST");
    ping(&service, "YOUR_API_KEY").await.assert_error(404, "PUBLIC_API_KEY_IS_NOT_IN_VALID_FORMAT");
    let refused = ping(&service, UNKNOWN).await;
    insta::assert_json_snapshot!(refused.snapshot(), @r#"
    {
      "body": {
        "error": {
          "code": "PUBLIC_API_KEY_TOO_MANY_REQUEST",
          "description": "Too many calls with unknown API keys came from your address. Please retry later.",
          "message": "Too many requests"
        }
      },
      "status": 429
    }
    "#);
    let seconds: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert!(!refused.headers.contains_key("x-ratelimit-limit"), "that is for known keys");
    ping(&service, "YOUR_API_KEY").await.assert_error(429, "PUBLIC_API_KEY_TOO_MANY_REQUEST");
    ping(&service, "").await.assert_error(404, "PUBLIC_API_KEY_IS_EMPTY");
}

/// The limit's headers would tell a good key there.
#[tokio::test]
async fn guesses_count_where_there_is_nothing_too() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "2"]).await;
    let nowhere = async |key: &str| service.get(&uri("/nowhere", key, &[])).await;
    nowhere(UNKNOWN).await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    nowhere("YOUR_API_KEY").await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    nowhere(UNKNOWN).await.assert_error(429, "PUBLIC_API_KEY_TOO_MANY_REQUEST");
    let good = nowhere(&service.key).await;
    good.assert_error(429, "PUBLIC_API_KEY_TOO_MANY_REQUEST");
    assert!(!good.headers.contains_key("x-ratelimit-limit"), "it is not even looked up");
    service.get("/nowhere").await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn guesses_of_others_do_not_disturb_a_key_in_use() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    ping(&service, &service.key).await.assert_success();
    ping(&service, UNKNOWN).await.assert_error(404, "PUBLIC_API_KEY_DOES_NOT_EXIST");
    ping(&service, UNKNOWN).await.assert_error(429, "PUBLIC_API_KEY_TOO_MANY_REQUEST");
    ping(&service, &service.key).await.assert_success();
}

#[tokio::test]
async fn keys_that_exist_are_no_guesses() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    for _ in 0..3 {
        let key = service.add_key(service.organisation, &[]).await;
        ping(&service, &key).await.assert_success();
    }
}

#[tokio::test]
async fn many_keys_that_exist_are_no_guesses_at_once_either() {
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
async fn a_key_that_many_calls_begin_with_at_once_is_no_guess() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    for answer in join_all((0..20).map(|_| ping(&service, &service.key))).await {
        answer.assert_success();
    }
}

#[tokio::test]
async fn guesses_past_the_limit_do_not_reach_the_database() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    ping(&service, UNKNOWN).await.assert_error(404, "PUBLIC_API_KEY_DOES_NOT_EXIST");
    service.pool.close().await;
    ping(&service, UNKNOWN).await.assert_error(429, "PUBLIC_API_KEY_TOO_MANY_REQUEST");
}

#[tokio::test]
async fn what_the_database_could_not_tell_is_no_guess() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    service.pool.close().await;
    for _ in 0..2 {
        ping(&service, UNKNOWN).await.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
    }
}

/// The status of a guess that says it was forwarded for this client.
async fn guess(server: &Server, forwarded_for: &str) -> u16 {
    let request = reqwest::Client::new().get(format!("{}/ping/v1?apiKey={UNKNOWN}", server.url));
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
    assert_eq!(guess(&trusting, "192.0.2.1").await, 404);
    assert_eq!(guess(&trusting, "192.0.2.2").await, 404);
    assert_eq!(guess(&trusting, "192.0.2.3, 192.0.2.2").await, 429, "the left one is anybody's invention");

    let suspicious = serve(&[]);
    assert_eq!(guess(&suspicious, "192.0.2.1").await, 404);
    assert_eq!(guess(&suspicious, "192.0.2.2").await, 429);
    let detail = json!({});
    let known = format!("/api/v1/customer/create?apiKey={}", service.key);
    assert_eq!(suspicious.post(&known, detail).await.0, 429, "not looked up for this address");
}
