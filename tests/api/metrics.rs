//! What Prometheus reads.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use crate::support::binary::{Server, on};
use crate::support::{CUSTOMER, MANAGER, MATCH, Service};

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
        ["build_info", "http_requests", "http_errors", "matches", "http_request_duration_seconds_count"];
    insta::assert_snapshot!(service.samples(&names).await.join("\n"), @r#"
    customer_match_build_info{version="0.1.0"} 1
    customer_match_http_errors_total{code="INTERNAL_METHOD_NOT_ALLOWED"} 1
    customer_match_http_errors_total{code="INTERNAL_RESOURCE_NOT_FOUND"} 2
    customer_match_http_errors_total{code="PUBLIC_API_KEY_IS_EMPTY"} 1
    customer_match_http_request_duration_seconds_count{route="(none)"} 2
    customer_match_http_request_duration_seconds_count{route="/api/v1/customer/customer-match-customer"} 3
    customer_match_http_request_duration_seconds_count{route="/livez"} 1
    customer_match_http_requests_in_flight 0
    customer_match_http_requests_total{route="(none)",method="other",status="4xx"} 2
    customer_match_http_requests_total{route="/api/v1/customer/customer-match-customer",method="POST",status="2xx"} 2
    customer_match_http_requests_total{route="/api/v1/customer/customer-match-customer",method="POST",status="4xx"} 1
    customer_match_http_requests_total{route="/livez",method="other",status="4xx"} 1
    customer_match_matches_total{outcome="created"} 1
    customer_match_matches_total{outcome="unchanged"} 1
    "#);
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
    let names = ["match_batch_size_sum", "match_batch_size_count", "match_batch_retries"];
    insta::assert_snapshot!(service.samples(&names).await.join("\n"), @r"
    customer_match_match_batch_retries_total 0
    customer_match_match_batch_size_count 1
    customer_match_match_batch_size_sum 1.0
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
