//! What Prometheus reads.

use axum::body::Body;
use axum::http::{Method, Request};
use customer_match::db::migration;
use customer_match::error::ErrorCode;
use private_postgres::PrivatePostgres;
use serde_json::json;

use crate::support::binary::{Server, on};
use crate::support::{CUSTOMER, DOCUMENT, MANAGER, MATCH, Service, Standby};

#[tokio::test]
async fn requests_are_counted_and_nothing_that_a_client_made_up() {
    let service = Service::start().await;
    let body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    for _ in 0..2 {
        service.post_match(body.clone()).await.assert_success();
    }
    service.post(MATCH, body).await.assert_error(404, "PUBLIC_API_KEY_IS_EMPTY");
    let made_up = Method::from_bytes(b"BREW").unwrap();
    for path in ["/needle-1", "/needle-2", "/livez"] {
        let request = Request::builder().method(made_up.clone()).uri(path).body(Body::empty()).unwrap();
        service.call(request).await;
    }
    let names =
        ["http_requests", "http_errors", "matches", "organisation_", "http_request_duration_seconds_count"];
    let mut counted = service.samples(&names).await;
    counted.retain(|sample| !sample.ends_with(" 0"));
    insta::assert_snapshot!(counted.join("\n"), @r#"
    customer_match_http_errors_total{code="INTERNAL_METHOD_NOT_ALLOWED"} 1
    customer_match_http_errors_total{code="INTERNAL_RESOURCE_NOT_FOUND"} 2
    customer_match_http_errors_total{code="PUBLIC_API_KEY_IS_EMPTY"} 1
    customer_match_http_request_duration_seconds_count{route="(none)"} 2
    customer_match_http_request_duration_seconds_count{route="/api/v1/customer/customer-match-customer"} 3
    customer_match_http_request_duration_seconds_count{route="/livez"} 1
    customer_match_http_requests_total{route="(none)",method="other",status="4xx"} 2
    customer_match_http_requests_total{route="/api/v1/customer/customer-match-customer",method="POST",status="2xx"} 2
    customer_match_http_requests_total{route="/api/v1/customer/customer-match-customer",method="POST",status="4xx"} 1
    customer_match_http_requests_total{route="/livez",method="other",status="4xx"} 1
    customer_match_matches_total{outcome="created"} 1
    customer_match_matches_total{outcome="unchanged"} 1
    customer_match_organisation_matches_total{organisation="1"} 2
    customer_match_organisation_requests_total{organisation="1"} 2
    "#);
}

/// The rate of a series that begins with its first event misses that event.
#[tokio::test]
async fn series_are_there_from_the_start() {
    let service = Service::start().await;
    let names =
        ["http_requests_total", "http_errors", "matches_total", "connections_rejected", "organisation_"];
    let samples = service.samples(&names).await;
    assert!(samples.iter().all(|sample| sample.ends_with(" 0")), "{samples:#?}");
    for code in ErrorCode::ALL {
        let series = format!("customer_match_http_errors_total{{code=\"{}\"}} 0", code.entry().code);
        assert!(samples.contains(&series), "{series}");
    }
    for (path, operations) in DOCUMENT["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            for status in ["2xx", "4xx", "5xx", "disconnected"] {
                let labels = format!("route=\"{path}\",method=\"{method}\",status=\"{status}\"");
                let series = format!("customer_match_http_requests_total{{{labels}}} 0");
                assert!(samples.contains(&series), "{series}");
            }
        }
    }
    let with_label = |label: &str| samples.iter().filter(|sample| sample.contains(label)).count();
    assert_eq!((with_label("{outcome="), with_label("{limit="), with_label("\"other\"")), (4, 2, 4));
}

#[tokio::test]
async fn errors_are_counted_by_organisation() {
    let service = Service::start().await;
    let (_, other) = service.add_organisation("Other").await;
    let reader = service.add_key(service.organisation, &["customer.read"]).await;
    let body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    for key in [&service.key, &other, &other, &reader] {
        service.post(&format!("{MATCH}?apiKey={key}"), body.clone()).await;
    }
    let samples = service.samples(&["organisation_errors", "organisation_matches"]).await;
    insta::assert_snapshot!(samples.join("\n"), @r#"
    customer_match_organisation_errors_total{organisation="1",code="PUBLIC_API_KEY_SCOPE_NOT_ALLOWED"} 1
    customer_match_organisation_errors_total{organisation="2",code="INTERNAL_RESOURCE_NOT_FOUND"} 2
    customer_match_organisation_matches_total{organisation="1"} 1
    customer_match_organisation_matches_total{organisation="2"} 0
    customer_match_organisation_matches_total{organisation="other"} 0
    "#);
}

#[tokio::test]
async fn the_database_is_up_or_not() {
    let service = Service::start().await;
    let names = ["database_"];
    let role = "customer_match_database_replication_role";
    let state = |primary, up| {
        [
            "customer_match_database_read_only 0".to_owned(),
            format!("{role}{{role=\"primary\"}} {primary}"),
            format!("{role}{{role=\"standby\"}} 0"),
            format!("customer_match_database_up {up}"),
        ]
    };
    assert_eq!(service.samples(&names).await, state(1, 1));
    service.lose_database().await;
    assert_eq!(service.samples(&names).await, state(0, 0));
}

#[tokio::test]
async fn a_standby_is_told_from_a_primary() {
    let primary = PrivatePostgres::start_throw_away().await.unwrap();
    migration::run(&primary.connect_options()).await.unwrap();
    let standby = Standby::of(&primary.connect_options()).await;
    let (service, proxy) = Service::start_elsewhere(primary.connect_options()).await;
    proxy.lead_to(standby.connect_options());
    let role = "customer_match_database_replication_role";
    assert_eq!(
        service.samples(&["database_re"]).await,
        [
            "customer_match_database_read_only 1".to_owned(),
            format!("{role}{{role=\"primary\"}} 0"),
            format!("{role}{{role=\"standby\"}} 1"),
        ]
    );
}

#[tokio::test]
async fn batches_are_measured() {
    let service = Service::start().await;
    let mut other = service.pool.begin().await.unwrap();
    sqlx::query("lock table customer_match").execute(&mut *other).await.unwrap();
    let body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    let queue = ["match_queue_depth", "match_writes_blocked"];
    let state = |depth, blocked| {
        [
            format!("customer_match_match_queue_depth {depth}"),
            format!("customer_match_match_writes_blocked {blocked}"),
        ]
    };
    let (answer, ()) = tokio::join!(service.post_match(body), async {
        // In flight, and outside the queue while it waits for the end of the lock.
        for expected in [state(1, 0), state(0, 1)] {
            while service.samples(&queue).await != expected {
                tokio::task::yield_now().await;
            }
        }
        other.rollback().await.unwrap();
    });
    answer.assert_success();
    assert_eq!(service.samples(&queue).await, state(0, 0));
    let names = [
        "match_batch_size_sum",
        "match_batch_size_count",
        "match_batch_retries",
        "match_queue_wait_seconds_count",
    ];
    insta::assert_snapshot!(service.samples(&names).await.join("\n"), @r"
    customer_match_match_batch_retries_total 0
    customer_match_match_batch_size_count 1
    customer_match_match_batch_size_sum 1.0
    customer_match_match_queue_wait_seconds_count 1
    ");
}

#[tokio::test]
async fn the_state_of_the_pool_is_measured() {
    let service = Service::start_configured(&["--database-max-connections", "5"]).await;
    let held = service.pool.acquire().await.unwrap();
    let pool = service.samples(&["db_pool_max_connections", "db_pool_idle"]).await;
    assert!(pool.contains(&"customer_match_db_pool_max_connections 5".into()), "{pool:?}");
    drop(held);
    service.get(&format!("/ping/v1?apiKey={}", service.key)).await;
    let waits = service.samples(&["db_pool_acquire_duration_seconds_bucket"]).await;
    assert!(waits.iter().any(|sample| !sample.ends_with(" 0")), "{waits:?}");
}

#[tokio::test]
async fn they_have_a_listener_of_their_own() {
    let service = Service::start().await;
    assert_eq!(service.get("/metrics").await.status, 404);
    let flags = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut server = Server::start(on(&service.database, &flags));
    let url = server.url.clone();
    let admin = format!("http://{}", server.admin_address());
    reqwest::get(format!("{url}/livez")).await.unwrap();
    let text = reqwest::get(format!("{admin}/metrics")).await.unwrap().text().await.unwrap();
    assert!(
        text.contains("customer_match_http_requests_total{route=\"/livez\",method=\"GET\",status=\"2xx\"} 1"),
        "{text}"
    );
    assert_eq!(reqwest::get(format!("{admin}/ping/v1")).await.unwrap().status(), 404);
}
