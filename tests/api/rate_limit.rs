//! The rate limit of a key, and its headers (contract §3).

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use customer_match::domain::{ApiKey, KeyKind};
use customer_match::{config::Config, db::api_key};
use rstest::rstest;
use serde_json::json;

use crate::support::binary::{on, run, run_json, run_refused};
use crate::support::{Answer, LIST, MATCH, Service, uri};

/// Limit and remaining calls; `None` without headers.
#[track_caller]
fn told(answer: &Answer) -> Option<(u32, u32)> {
    let limit = number(&answer.headers, "x-ratelimit-limit")?;
    let remaining = number(&answer.headers, "x-ratelimit-remaining").unwrap();
    let reset = number(&answer.headers, "x-ratelimit-reset").unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!((now..=now + 61).contains(&reset), "{reset} is not within a minute from {now}");
    Some((u32::try_from(limit).unwrap(), u32::try_from(remaining).unwrap()))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name).map(|value| value.to_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_call_over_the_limit_is_429_with_retry_after() {
    let service = Service::start_configured(&["--prod-limit-per-minute", "2"]).await;
    service.get_from("/ping/v1", &[]).await.assert_success();
    service.get_from("/ping/v1", &[]).await.assert_success();
    let rejected = service.get_from("/ping/v1", &[]).await;
    assert_eq!(told(&rejected), Some((2, 0)));
    assert!((1..=60).contains(&number(&rejected.headers, "retry-after").unwrap()));
    insta::assert_json_snapshot!(rejected.snapshot(), @r#"
    {
      "body": {
        "error": {
          "code": "PUBLIC_API_KEY_TOO_MANY_REQUEST",
          "description": "The limit of this API key is used up. Please retry later.",
          "message": "Too many requests"
        }
      },
      "status": 429
    }
    "#);
    // Another key of the same organisation has a limit of its own.
    let other = service.add_key(service.organisation, &[]).await;
    service.get(&uri("/ping/v1", &other, &[])).await.assert_success();
}

#[tokio::test]
async fn every_answer_to_a_known_key_says_what_is_left() {
    let service = Service::start().await;
    let scoped = service.add_key(service.organisation, &["invoice.read"]).await;
    assert_eq!(told(&service.post_match(json!({})).await), Some((500_000, 499_999)), "422");
    assert_eq!(
        told(&service.get_from(LIST, &[("cuRefNo", "nobodyHasThisOne")]).await),
        Some((500_000, 499_998)),
        "404"
    );
    assert_eq!(told(&service.get_from("/ping/v1", &[]).await), Some((500_000, 499_997)), "200");
    assert_eq!(
        told(&service.post(&uri(MATCH, &scoped, &[]), json!({})).await),
        Some((500_000, 499_999)),
        "403"
    );
    service.lose_database().await;
    assert_eq!(told(&service.get_from("/ping/v1", &[]).await), Some((500_000, 499_996)), "503");
}

/// Calls to unknown paths and methods count as well.
#[tokio::test]
async fn calls_that_reach_no_endpoint_count_too() {
    let service = Service::start_configured(&["--prod-limit-per-minute", "4"]).await;
    let nowhere = service.get_from("/nowhere", &[]).await;
    nowhere.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    assert_eq!(told(&nowhere), Some((4, 3)));
    let in_body = service.post("/nowhere", json!({ "apiKey": service.key })).await;
    in_body.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    assert_eq!(told(&in_body), Some((4, 2)));
    let wrong_method = service.get_from(MATCH, &[]).await;
    wrong_method.assert_error(405, "INTERNAL_METHOD_NOT_ALLOWED");
    assert_eq!(wrong_method.headers["allow"], "POST");
    assert_eq!(told(&wrong_method), Some((4, 1)));
    service.get_from("/ping/v1", &[]).await.assert_success();
    for path in ["/nowhere", MATCH] {
        let rejected = service.get_from(path, &[]).await;
        rejected.assert_error(429, "PUBLIC_API_KEY_TOO_MANY_REQUEST");
        assert_eq!(told(&rejected), Some((4, 0)));
    }
    // Without a good key there is nothing to count.
    for key in ["", "YOUR_API_KEY", "PROD0000000000000000000000000000"] {
        let answer = service.get(&uri("/nowhere", key, &[])).await;
        answer.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
        assert_eq!(told(&answer), None);
    }
}

#[rstest]
#[case::prod(KeyKind::Prod, None, Some(500_000))]
#[case::dev(KeyKind::Dev, None, Some(1_000))]
#[case::root(KeyKind::Root, None, None)]
#[case::own(KeyKind::Dev, Some(70_000), Some(70_000))]
#[tokio::test]
async fn the_limit_is_that_of_the_key_or_else_of_its_kind(
    #[case] kind: KeyKind,
    #[case] own: Option<u32>,
    #[case] expected: Option<u32>,
) {
    let service = Service::start().await;
    let key = ApiKey::generate(kind);
    let new = api_key::NewKey { limit_per_minute: own, ..Default::default() };
    api_key::create(&service.pool, service.organisation, &key, &new).await.unwrap().unwrap();
    let answer = service.get(&uri("/ping/v1", key.expose(), &[])).await;
    answer.assert_success();
    assert_eq!(told(&answer), expected.map(|limit| (limit, limit - 1)));
}

#[test]
fn the_documented_limits_are_the_default() {
    let limits = Config::from_flags(&[]).unwrap().rate_limits;
    assert_eq!(KeyKind::ALL.map(|kind| limits.of(kind, None)), [Some(500_000), Some(1_000), None]);
}

#[tokio::test]
async fn is_checked_after_the_expiry_and_before_the_scope() {
    let service = Service::start_configured(&["--prod-limit-per-minute", "1"]).await;
    let scoped = service.add_key(service.organisation, &["invoice.read"]).await;
    let call = async || service.post(&uri(MATCH, &scoped, &[]), json!({})).await;
    call().await.assert_error(403, "PUBLIC_API_KEY_SCOPE_NOT_ALLOWED");
    call().await.assert_error(429, "PUBLIC_API_KEY_TOO_MANY_REQUEST");

    service.execute("update api_key set expires_at = now()").await;
    let expired = service.get_from("/ping/v1", &[]).await;
    expired.assert_error(404, "PUBLIC_API_KEY_HAS_BEEN_EXPIRED");
    assert_eq!(told(&expired), None);
}

#[tokio::test]
async fn a_key_gets_its_own_limit_on_the_command_line() {
    let service = Service::start().await;
    let create = |kind, limit| {
        let arguments = ["key", "create", "--organisation", "1", "--kind", kind, "--format", "json"];
        on(&service.database, &[&arguments[..], &["--limit-per-minute", limit]].concat())
    };
    let key = run_json(create("dev", "7"))["apiKey"].as_str().unwrap().to_owned();
    assert_eq!(told(&service.get(&uri("/ping/v1", &key, &[])).await), Some((7, 6)));
    let listed = run(on(&service.database, &["key", "list", "--organisation", "1"]));
    assert!(listed.lines().any(|line| line.contains("DEV_") && line.contains(" 7 ")), "{listed}");
    assert!(run_refused(create("root", "7")).contains("has no limit"));
    assert!(run_refused(create("dev", "0")).contains("--limit-per-minute"));
}
