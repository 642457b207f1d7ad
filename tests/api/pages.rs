//! The pages as a browser gets them; tests/browser runs them in one.

use axum::body::Body;
use axum::http::{Request, header};
use customer_match::domain::ApiKey;
use customer_match::error::ErrorCode;
use http_body_util::BodyExt;
use rstest::rstest;
use serde_json::json;

use crate::support::{MANAGER, Service};

impl Service {
    /// A page, as a browser asks for it.
    async fn page(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let mut request =
            Request::get(path).header(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.response(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(response.headers().contains_key("x-request-id"));
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
    }
}

#[tokio::test]
async fn the_home_page_has_the_call_for_its_own_url() {
    let service = Service::start_in_demo_mode().await;
    let page = service.page("/", &[("host", "match.example:8443"), ("x-forwarded-proto", "https")]).await;
    let call = format!(
        "https://match.example:8443/api/v1/customer/customer-match-customer?apiKey={}",
        ApiKey::SAMPLE
    );
    assert!(page.contains(&call) && page.contains(MANAGER), "{page}");
    assert!(page.contains("reachable") && page.contains(env!("CARGO_PKG_VERSION")), "{page}");
    for link in ["/docs", "/errors", "/openapi.json", "/livez", "/readyz"] {
        assert!(page.contains(&format!("href=\"{link}\"")), "{link}");
    }
}

#[rstest]
#[case::a_name("localhost:8080", "http://localhost:8080/api")]
#[case::an_address("[::1]:8080", "http://[::1]:8080/api")]
#[case::a_quote("a'b", "http://localhost:8080/api")]
#[case::a_command("$(reboot)", "http://localhost:8080/api")]
#[tokio::test]
async fn only_a_plain_host_is_repeated(#[case] host: &str, #[case] shown: &str) {
    let service = Service::start().await;
    let page = service.page("/", &[("host", host)]).await;
    assert!(page.contains(shown), "{page}");
}

#[tokio::test]
async fn outside_demo_mode_no_page_has_a_key() {
    let service = Service::start().await;
    for path in ["/", "/docs"] {
        let page = service.page(path, &[]).await;
        assert!(!page.contains(ApiKey::SAMPLE), "{path}");
    }
    assert!(service.page("/", &[]).await.contains("apiKey=YOUR_API_KEY"));
}

#[tokio::test]
async fn the_home_page_shows_an_unreachable_database() {
    let service = Service::start().await;
    service.lose_database().await;
    assert!(service.page("/", &[]).await.contains("not reachable"));
}

#[tokio::test]
async fn the_page_to_try_the_api_has_the_sample_key_in_demo_mode() {
    let service = Service::start_in_demo_mode().await;
    let page = service.page("/docs", &[]).await;
    assert!(page.contains(&format!("data-api-key=\"{}\"", ApiKey::SAMPLE)), "{page}");
}

/// A page must not need a file that is missing or on another host.
#[tokio::test]
async fn every_file_of_a_page_is_served() {
    let service = Service::start().await;
    for path in ["/", "/docs", "/errors", "/errors/INTERNAL_ERROR"] {
        let page = service.page(path, &[]).await;
        let files = page.split("src=\"").skip(1).chain(page.split("rel=\"stylesheet\" href=\"").skip(1));
        for file in files.map(|rest| rest.split('"').next().unwrap()) {
            let response = service.response(Request::get(file).body(Body::empty()).unwrap()).await;
            assert_eq!(response.status(), 200, "{file}");
            assert!(response.headers().contains_key(header::ETAG), "{file}");
        }
    }
}

#[tokio::test]
async fn every_error_is_explained_where_its_link_leads() {
    let service = Service::start().await;
    let refused = service.get("/ping/v1").await;
    assert_eq!(refused.headers[header::LINK], "</errors/PUBLIC_API_KEY_IS_EMPTY>; rel=\"help\"");

    let all = service.page("/errors", &[]).await;
    for code in ErrorCode::ALL {
        let entry = code.entry();
        assert!(all.contains(&format!("href=\"/errors/{}\"", entry.code)), "{}", entry.code);
        assert!(!entry.meaning.is_empty() && !entry.remedy.is_empty(), "{}", entry.code);
        let page = service.page(&format!("/errors/{}", entry.code), &[]).await;
        assert!(page.contains(&format!("<h1>{}</h1>", entry.code)), "{page}");
    }
    service.get("/errors/NO_SUCH_CODE").await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn the_registry_is_json_on_request() {
    let service = Service::start().await;
    let ask =
        |path| Request::get(path).header(header::ACCEPT, "application/json").body(Body::empty()).unwrap();
    let all = service.call(ask("/errors")).await;
    assert_eq!(all.body.as_array().unwrap().len(), ErrorCode::ALL.len());
    assert_eq!(all.headers[header::VARY], "Accept");
    let one = service.call(ask("/errors/PUBLIC_API_KEY_TOO_MANY_REQUEST")).await;
    assert_eq!(
        (&one.body["status"], &one.body["message"]),
        (&json!(429), &json!("Too many requests")),
        "{:#}",
        one.body
    );
    assert!(all.body.as_array().unwrap().contains(&one.body));
}
