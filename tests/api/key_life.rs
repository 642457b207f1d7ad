//! The life of a key: what operators do to it, how its end is announced, and what is known of its use.
//!
//! On several threads: a command blocks the one of its test, and may wait for a transaction that a task of the server has begun.

use chrono::{DateTime, TimeDelta, Utc};
use customer_match::db::api_key;
use customer_match::domain::{ApiKey, KeyKind};
use serde_json::{Value, json};
use sqlx::postgres::types::PgInterval;

use crate::support::binary::{Server, on, run, run_json, run_refused};
use crate::support::{Answer, Service, uri};

async fn ping(service: &Service, key: &str) -> Answer {
    service.get(&uri("/ping/v1", key, &[])).await
}

fn json_of(service: &Service, arguments: &[&str]) -> Value {
    run_json(on(&service.database, &[arguments, &["--format", "json"]].concat()))
}

fn text_of(service: &Service, arguments: &[&str]) -> String {
    run(on(&service.database, arguments))
}

fn refused(service: &Service, arguments: &[&str]) -> String {
    run_refused(on(&service.database, arguments))
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

/// Within a minute, which is what a slow machine may take between two commands.
#[track_caller]
fn assert_about(value: &Value, expected: DateTime<Utc>) {
    assert!((time(value) - expected).abs() < TimeDelta::minutes(1), "{value} is not about {expected}");
}

/// Until the server has seen a change of the key.
async fn answered(service: &Service, key: &str, expected: u16) -> Answer {
    loop {
        let answer = ping(service, key).await;
        if answer.status == expected {
            return answer;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_alone_on_stdout() {
    let service = Service::start().await;
    let create = ["key", "create", "--organisation", "1", "--kind", "dev", "--never-expires"];
    let output = on(&service.database, &create).output().unwrap();
    let (key, note) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    ping(&service, key.strip_suffix('\n').unwrap()).await.assert_success();
    assert_eq!(note, "Key 2, never expires. It cannot be printed again: store it now.\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_masked_key_is_found() {
    let service = Service::start().await;
    let (_, key) = service.add_organisation("Other").await;
    let mask = ApiKey::parse(&key).unwrap().mask();
    let all = json_of(&service, &["key", "list", "--all"]);
    assert_eq!(all.as_array().unwrap().len(), 2);
    let found = all.as_array().unwrap().iter().find(|found| found["mask"] == json!(mask)).unwrap();
    assert_eq!((&found["organisation"], &found["organisationId"]), (&json!("Other"), &json!(2)));
    let text = text_of(&service, &["key", "list", "--all"]);
    assert!(text.lines().any(|line| line.contains("Other") && line.contains(&mask)), "{text}");

    // Also where the organisation is a variable.
    let mut command = on(&service.database, &["key", "list", "--all", "--format", "json"]);
    command.env("CUSTOMER_MATCH_ORGANISATION", "1");
    assert_eq!(run_json(command), all);
    assert!(refused(&service, &["key", "list"]).contains("--organisation"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_masked() {
    let service = Service::start().await;
    let create = ["key", "create", "--organisation", "1", "--kind", "prod", "--description", "web site"];
    let more = ["--scope", "customer.read", "--limit-per-minute", "7"];
    let created = json_of(&service, &[&create[..], &more].concat());
    let shown = json_of(&service, &["key", "show", "2"]);
    let mask = ApiKey::parse(created["apiKey"].as_str().unwrap()).unwrap().mask();
    assert_eq!(
        shown,
        json!({
            "id": 2, "organisationId": 1, "organisation": "Acme", "kind": "prod", "mask": mask, "description": "web site",
            "scopes": ["customer.read"], "limitPerMinute": 7, "publishable": false,
            "allowedOrigins": [], "clientLimitPerMinute": null, "state": "active", "lastUsedAt": null, "lastUsedIp": null,
            "createdAt": shown["createdAt"], "expiresAt": created["expiresAt"], "deletedAt": null,
        })
    );
    let text = text_of(&service, &["key", "show", "2"]);
    for part in [mask.as_str(), "1 \"Acme\"", "customer.read", "web site", "active"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains(created["apiKey"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_moved() {
    let service = Service::start().await;
    service.execute("update api_key set expires_at = now() + interval '10 days'").await;
    let extended = json_of(&service, &["key", "extend", "1", "--days", "90"]);
    assert_about(&extended["expiresAt"], Utc::now() + TimeDelta::days(100));

    // An expired key works again, from now on.
    service.execute("update api_key set expires_at = now() - interval '10 days'").await;
    answered(&service, &service.key, 404).await.assert_error(404, "PUBLIC_API_KEY_HAS_BEEN_EXPIRED");
    let extended = json_of(&service, &["key", "extend", "1", "--days", "3"]);
    assert_about(&extended["expiresAt"], Utc::now() + TimeDelta::days(3));
    answered(&service, &service.key, 200).await;

    for (state, words) in [("expires_at = null", "never expires"), ("deleted_at = now()", "was revoked")] {
        service.execute(&format!("update api_key set {state}")).await;
        let error = refused(&service, &["key", "extend", "1", "--days", "3"]);
        assert!(error.contains(words), "{error}");
    }
    assert!(refused(&service, &["key", "extend", "1", "--days", "0"]).contains("--days"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_switched_off_and_on() {
    let service = Service::start().await;
    ping(&service, &service.key).await.assert_success();
    text_of(&service, &["key", "disable", "1"]);
    answered(&service, &service.key, 404).await.assert_error(404, "PUBLIC_API_KEY_IS_NOT_ACTIVE");
    assert_eq!(json_of(&service, &["key", "show", "1"])["state"], "inactive");
    text_of(&service, &["key", "enable", "1"]);
    answered(&service, &service.key, 200).await;
    service.execute("update api_key set deleted_at = now()").await;
    for command in ["disable", "enable"] {
        let error = refused(&service, &["key", command, "1"]);
        assert!(error.contains("was revoked"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_takes_over() {
    let service = Service::start().await;
    service
        .execute(
            "update api_key set scopes = '{customer.match,customer.read}', limit_per_minute = 7, description = 'web site',
                created_at = now() - interval '20 days', expires_at = now() + interval '40 days'",
        )
        .await;
    let rotated = json_of(&service, &["key", "rotate", "1"]);
    assert_eq!(
        (&rotated["id"], &rotated["replaces"], &rotated["kind"]),
        (&json!(2), &json!(1), &json!("prod"))
    );
    assert_about(&rotated["replacedExpiresAt"], Utc::now() + TimeDelta::days(7));
    let [old, new] = ["1", "2"].map(|id| json_of(&service, &["key", "show", id]));
    for same in ["organisationId", "kind", "description", "scopes", "limitPerMinute", "state"] {
        assert_eq!(new[same], old[same], "{same}");
    }
    assert_ne!(new["mask"], old["mask"]);
    assert_about(&new["expiresAt"], Utc::now() + TimeDelta::days(60));
    assert_about(&old["expiresAt"], Utc::now() + TimeDelta::days(7));
    ping(&service, &service.key).await.assert_success();
    ping(&service, rotated["apiKey"].as_str().unwrap()).await.assert_success();

    // The end of the old key comes no later for it.
    let again = json_of(&service, &["key", "rotate", "1", "--overlap", "30d"]);
    assert_eq!(again["replacedExpiresAt"], old["expiresAt"]);
    let at_once = text_of(&service, &["key", "rotate", "1", "--overlap", "0s"]);
    assert!(ApiKey::parse(at_once.trim_end()).is_ok(), "the key alone: {at_once}");
    answered(&service, &service.key, 404).await.assert_error(404, "PUBLIC_API_KEY_HAS_BEEN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_never_expires_has_a_successor_that_does_not() {
    let service = Service::start().await;
    let rotated = json_of(&service, &["key", "rotate", "1", "--overlap", "1h"]);
    assert_eq!(rotated["expiresAt"], Value::Null);
    assert_about(&rotated["replacedExpiresAt"], Utc::now() + TimeDelta::hours(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_key_that_works_is_rotated() {
    let service = Service::start().await;
    let states = [
        ("active = false", "is disabled"),
        ("active = true, expires_at = now()", "has expired"),
        ("deleted_at = now()", "was revoked"),
    ];
    for (state, words) in states {
        service.execute(&format!("update api_key set {state}")).await;
        let error = refused(&service, &["key", "rotate", "1"]);
        assert!(error.contains(words), "{error}");
        let nothing =
            api_key::rotate(&service.pool, 1, &ApiKey::generate(KeyKind::Prod), Default::default()).await;
        assert!(nothing.unwrap().is_none());
    }
    assert!(refused(&service, &["key", "rotate", "1", "--overlap", "7"]).contains("12h or 7d"));
    assert!(refused(&service, &["key", "rotate", "1", "--overlap", "400d"]).contains("at most 366d"));
    assert_eq!(service.count("api_key").await, 1);
}

async fn expires_in(service: &Service, days: i32) -> String {
    let key = service.add_key(service.organisation, &[]).await;
    let hash = ApiKey::parse(&key).unwrap().hash();
    sqlx::query("update api_key set expires_at = date_trunc('second', now()) + $1 where hash = $2")
        .bind(PgInterval { months: 0, days, microseconds: 0 })
        .bind(hash.as_bytes())
        .execute(&service.pool)
        .await
        .unwrap();
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_announce_the_end_of_their_key() {
    let service = Service::start().await;
    let soon = expires_in(&service, 13).await;
    let later = expires_in(&service, 15).await;
    let past = expires_in(&service, -1).await;
    let answer = ping(&service, &soon).await;
    let sunset = answer.headers["sunset"].to_str().unwrap();
    assert_eq!(sunset.len(), "Sun, 06 Nov 1994 08:49:37 GMT".len(), "{sunset}");
    let at = DateTime::parse_from_rfc2822(sunset).unwrap().to_utc();
    let listed = json_of(&service, &["key", "show", "2"]);
    assert_eq!(at, time(&listed["expiresAt"]));

    // Errors too, also on unknown paths.
    for path in ["/api/v1/customer/detail", "/nowhere"] {
        assert_eq!(service.get(&uri(path, &soon, &[])).await.headers["sunset"], sunset, "{path}");
    }
    assert!(ping(&service, &past).await.headers.contains_key("sunset"));
    for key in [&later, &service.key] {
        assert!(!ping(&service, key).await.headers.contains_key("sunset"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_days_left_are_measured() {
    let service = Service::start().await;
    expires_in(&service, 3).await;
    expires_in(&service, 100).await;
    expires_in(&service, -1).await;
    service.execute("update api_key set mask = 'PROD…' || id").await;
    let service = service.restarted();
    let samples = loop {
        let samples = service.samples(&["api_key_days_left{"]).await;
        if !samples.is_empty() {
            break samples;
        }
        tokio::task::yield_now().await;
    };
    let samples: Vec<_> = samples.iter().map(|sample| sample.rsplit_once(' ').unwrap()).collect();
    let labels: Vec<_> = samples.iter().map(|(labels, _)| *labels).collect();
    assert_eq!(
        labels,
        [
            r#"customer_match_api_key_days_left{organisation="1",id="2",key="PROD…2"}"#,
            r#"customer_match_api_key_days_left{organisation="1",id="3",key="PROD…3"}"#
        ]
    );
    let days: Vec<f64> = samples.iter().map(|(_, days)| days.parse().unwrap()).collect();
    assert!((days[0] - 3.0).abs() < 0.01 && (days[1] - 100.0).abs() < 0.01, "{days:?}");
    let soonest = service.samples(&["api_key_soonest_expiry_timestamp_seconds"]).await;
    let (_, soonest) = soonest[0].rsplit_once(' ').unwrap();
    let expires_at: i64 =
        sqlx::query_scalar("select extract(epoch from expires_at)::int8 from api_key where id = 2")
            .fetch_one(&service.pool)
            .await
            .unwrap();
    assert!(
        (soonest.parse::<f64>().unwrap() - expires_at as f64).abs() <= 1.0,
        "{soonest} is not {expires_at}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_warns_of_a_key_that_ends_soon_and_names_the_client_of_none() {
    let service = Service::start().await;
    let soon = expires_in(&service, 3).await;
    expires_in(&service, 15).await;
    let mut command = on(&service.database, &["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    let log = tempfile::NamedTempFile::new().unwrap();
    command.stderr(log.reopen().unwrap());
    let server = Server::start(command);
    // The start does not wait for the warning.
    let warned = || std::fs::read_to_string(log.path()).unwrap().contains("API key expires soon");
    while !warned() {
        tokio::task::yield_now().await;
    }
    server.stop();
    let log = std::fs::read_to_string(log.path()).unwrap();
    let warnings: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("API key expires soon"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mask = ApiKey::parse(&soon).unwrap().mask();
    assert_eq!(warnings.len(), 1, "{log}");
    assert_eq!((&warnings[0]["level"], &warnings[0]["key"]), (&json!("WARN"), &json!(mask)));
    assert_eq!(warnings[0]["days_left"], 2.0, "{}", warnings[0]);
    assert!(!log.contains(&soon));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_has_the_client_ip() {
    let service = Service::start().await;
    let flags = ["serve", "--listen", "127.0.0.1:0", "--trusted-proxy", "127.0.0.1"];
    let server = Server::start(on(&service.database, &flags));
    let url = format!("{}/ping/v1?apiKey={}", server.url, service.key);
    let client = reqwest::Client::new();
    let response = client.get(url).header("x-forwarded-for", "203.0.113.9").send().await.unwrap();
    assert_eq!(response.status(), 200);
    loop {
        let shown = json_of(&service, &["key", "show", "1"]);
        if shown["lastUsedAt"].is_string() {
            assert_eq!(shown["lastUsedIp"], "203.0.113.9");
            break;
        }
    }
    let listed = text_of(&service, &["key", "list", "--organisation", "1"]);
    assert!(listed.contains(" from 203.0.113.9"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_has_no_client_ip_where_none_is_logged() {
    let service = Service::start().await;
    let server =
        Server::start(on(&service.database, &["serve", "--listen", "127.0.0.1:0", "--no-log-client-ip"]));
    let url = format!("{}/ping/v1?apiKey={}", server.url, service.key);
    assert_eq!(reqwest::get(url).await.unwrap().status(), 200);
    loop {
        let shown = json_of(&service, &["key", "show", "1"]);
        if shown["lastUsedAt"].is_string() {
            assert_eq!(shown["lastUsedIp"], Value::Null);
            break;
        }
    }
}
