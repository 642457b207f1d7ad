//! Ping (contract §2).

use axum::body::Body;
use axum::http::{Request, header};
use rstest::rstest;

use crate::support::Service;

#[rstest]
#[case("/ping/v1")]
#[case("/api/v1/ping/v1")]
#[tokio::test]
async fn confirms_key_and_database(#[case] path: &str) {
    let service = Service::start().await;
    service.get_from(path, &[]).await.assert_success();
    let key = service.add_key(service.organisation, &["invoice.read"]).await;
    let bearer = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {key}"));
    service.call(bearer.body(Body::empty()).unwrap()).await.assert_success();

    service.get(path).await.assert_error(404, "PUBLIC_API_KEY_IS_EMPTY");
    service.get(&format!("{path}?apiKey=x")).await.assert_error(404, "PUBLIC_API_KEY_IS_NOT_IN_VALID_FORMAT");
    service.lose_database().await;
    service.get_from(path, &[]).await.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
}
