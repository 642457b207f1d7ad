//! What all answers have in common, and those that come from no endpoint.

use axum::body::Body;
use axum::http::{Method, Request, header};
use rstest::rstest;
use serde_json::json;

use crate::support::{CUSTOMER, MANAGER, MATCH, Service, json_request};

#[tokio::test]
async fn an_unknown_path_is_404() {
    let service = Service::start().await;
    let answer = service.get("/api/v1/nothing?apiKey=secret").await;
    insta::assert_json_snapshot!(answer.snapshot(), @r#"
    {
      "body": {
        "error": {
          "code": "INTERNAL_RESOURCE_NOT_FOUND",
          "description": "The requested path",
          "message": "Resource not found."
        }
      },
      "status": 404
    }
    "#);
}

#[tokio::test]
async fn a_key_in_the_path_is_not_repeated() {
    let service = Service::start().await;
    let answer = service.post(&format!("{MATCH}&apiKey={}", service.key), json!({})).await;
    answer.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    assert!(!answer.body.to_string().contains(&service.key));
}

#[rstest]
#[case(Method::GET, MATCH, "POST")]
#[case(Method::DELETE, MATCH, "POST")]
#[case(Method::POST, "/livez", "GET,HEAD")]
#[tokio::test]
async fn a_wrong_method_is_405_and_names_the_right_ones(
    #[case] method: Method,
    #[case] uri: &str,
    #[case] allowed: &str,
) {
    let service = Service::start().await;
    let answer = service.call(Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()).await;
    answer.assert_error(405, "INTERNAL_METHOD_NOT_ALLOWED");
    assert_eq!(answer.headers[header::ALLOW], allowed);
}

#[tokio::test]
async fn without_its_database_the_server_answers_503() {
    let service = Service::start().await;
    service.lose_database().await;
    let answer = service.post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER })).await;
    answer.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
}

#[tokio::test]
async fn a_500_says_nothing_of_its_cause() {
    let service = Service::start().await;
    service.execute("alter table customer_match rename column notice to renamed").await;
    let answer = service.post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER })).await;
    insta::assert_json_snapshot!(answer.snapshot(), @r#"
    {
      "body": {
        "error": {
          "code": "INTERNAL_ERROR",
          "description": "The error has been recorded under the id in the header X-Request-Id.",
          "message": "Internal server error."
        }
      },
      "status": 500
    }
    "#);
}

#[rstest]
#[case::twice(&["a", "b"])]
#[case::no_host(&["a b"])]
#[tokio::test]
async fn a_host_that_is_none_is_400(#[case] hosts: &[&str]) {
    let service = Service::start().await;
    for path in [MATCH, "/livez", "/ping/v1", "/nothing", "/"] {
        let mut request = Request::get(path);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let answer = service.call(request.body(Body::empty()).unwrap()).await;
        answer.assert_error(400, "INTERNAL_VALIDATION_FAILED");
        assert_eq!(answer.headers[header::CONNECTION], "close");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    }
}

#[rstest]
#[case::harmless("front-end_1.42", true)]
#[case::empty("", false)]
#[case::white_space("a b", false)]
#[case::hostile("\"><script>", false)]
#[case::key("PROD0123456789abcdefghijABCDEFGH", false)]
#[case::part_of_a_key("id.DEV_0123", false)]
#[case::identity("a-0123456789abcdefghijABCDEFGHIJKL", false)]
#[case::hexadecimal("4bf92f3577b34da6a3ce929d0e0e4736", true)]
#[tokio::test]
async fn a_harmless_request_id_is_taken_over(#[case] id: &str, #[case] taken: bool) {
    let service = Service::start().await;
    let request = Request::get("/livez").header("x-request-id", id).body(Body::empty()).unwrap();
    assert_eq!(service.call(request).await.headers["x-request-id"] == id, taken);
    let long = Request::get("/livez").header("x-request-id", "a".repeat(65)).body(Body::empty()).unwrap();
    assert_eq!(service.call(long).await.headers["x-request-id"].len(), 36);
}

#[tokio::test]
async fn web_front_ends_of_any_origin_may_call() {
    let service = Service::start().await;
    let preflight = Request::options(MATCH)
        .header(header::ORIGIN, "https://trainer.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type")
        .body(Body::empty())
        .unwrap();
    let response = service.response(preflight).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET,POST");
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "authorization,content-type");
    assert_eq!(headers[header::ACCESS_CONTROL_MAX_AGE], "7200");

    // An error must be readable by the front end too.
    let rejected =
        json_request(MATCH).header(header::ORIGIN, "https://trainer.example").body(Body::empty()).unwrap();
    let answer = service.call(rejected).await;
    answer.assert_error(404, "PUBLIC_API_KEY_IS_EMPTY");
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert_eq!(
        answer.headers[header::ACCESS_CONTROL_EXPOSE_HEADERS],
        "x-request-id,x-ratelimit-limit,x-ratelimit-remaining,x-ratelimit-reset,retry-after,etag,link,preference-applied,sunset"
    );
    assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
}

#[rstest]
#[case("https://app.example", true)]
#[case("http://localhost:3000", true)]
#[case("https://evil.example", false)]
#[case("https://app.example.evil.example", false)]
#[tokio::test]
async fn web_front_ends_may_be_named(#[case] origin: &str, #[case] allowed: bool) {
    let service =
        Service::start_configured(&["--cors-origin", "https://app.example,http://localhost:3000"]).await;
    let request = Request::get("/livez").header(header::ORIGIN, origin).body(Body::empty()).unwrap();
    let answer = service.call(request).await;
    let named = answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    assert_eq!(named.map(|value| value == origin), allowed.then_some(true));
    assert!(
        answer.headers.get_all(header::VARY).iter().any(|value| value.to_str().unwrap().contains("origin"))
    );
}

#[tokio::test]
async fn answers_have_security_headers() {
    let service = Service::start().await;
    for path in ["/livez", "/nothing", "/ping/v1"] {
        let headers = service.get(path).await.headers;
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    }
}
