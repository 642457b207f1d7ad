//! The pages as a browser gets them; tests/browser runs them in one.

use std::collections::BTreeSet;
use std::io::Read;

use axum::body::Body;
use axum::http::{Request, header};
use axum::response::Response;
use customer_match::domain::ApiKey;
use customer_match::error::ErrorCode;
use flate2::read::GzDecoder;
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
    let bearer = format!("Bearer {}", ApiKey::SAMPLE);
    assert_eq!(page.matches(&bearer).count(), 2, "fetch and Python send the key in the header: {page}");
    for link in ["/explore#trainerPetra0001", "/docs", "/errors", "/openapi.json", "/livez", "/readyz"] {
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
    for path in ["/", "/docs", "/explore"] {
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
async fn the_pages_that_call_the_api_have_the_sample_key_in_demo_mode() {
    let service = Service::start_in_demo_mode().await;
    for path in ["/docs", "/explore"] {
        let page = service.page(path, &[]).await;
        assert!(page.contains(&format!("value=\"{}\"", ApiKey::SAMPLE)), "{page}");
    }
}

/// The files that a text names, by their paths: of a page, of a module what it imports.
fn files_of(text: &str, path: &str) -> Vec<String> {
    let named = ["src=\"/", "rel=\"stylesheet\" href=\"/", "type=\"image/svg+xml\" href=\"/"]
        .into_iter()
        .flat_map(|start| text.split(start).skip(1))
        .map(|rest| format!("/{}", rest.split('"').next().unwrap()));
    let directory = path.rsplit_once('/').unwrap().0;
    let parent = directory.rsplit_once('/').map_or("", |(parent, _)| parent);
    let imported = [("from './", directory), ("from '../", parent)]
        .into_iter()
        .flat_map(|(start, directory)| text.split(start).skip(1).map(move |rest| (rest, directory)))
        .map(|(rest, directory)| format!("{directory}/{}", rest.split('\'').next().unwrap()));
    named.chain(imported).collect()
}

/// A page must not need a file that is missing or on another host.
#[tokio::test]
async fn every_file_of_a_page_is_served() {
    let service = Service::start().await;
    let mut files = Vec::new();
    for path in ["/", "/docs", "/explore", "/errors", "/errors/INTERNAL_ERROR"] {
        files.extend(files_of(&service.page(path, &[]).await, path));
    }
    let mut seen = BTreeSet::new();
    while let Some(file) = files.pop() {
        let response = service.response(Request::get(&file).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200, "{file}");
        assert!(response.headers().contains_key(header::ETAG), "{file}");
        let text = response.into_body().collect().await.unwrap().to_bytes();
        if seen.insert(file.clone()) {
            files.extend(files_of(std::str::from_utf8(&text).unwrap(), &file));
        }
    }
    assert!(seen.contains("/favicon.svg") && seen.contains("/element.js"), "{seen:?}");
}

#[tokio::test]
async fn static_files_are_compressed() {
    let service = Service::start().await;
    let get = async |coding: &str, tag: &str| {
        let request = Request::get("/openapi.json").header(header::ACCEPT_ENCODING, coding);
        let request = request.header(header::IF_NONE_MATCH, tag);
        service.response(request.body(Body::empty()).unwrap()).await
    };
    let (plain, gzipped) = (get("identity", "").await, get("gzip, br", "").await);
    for response in [&plain, &gzipped] {
        assert_eq!(response.headers()[header::VARY], "accept-encoding");
    }
    assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
    assert_eq!(gzipped.headers()[header::CONTENT_ENCODING], "gzip");
    let tag = gzipped.headers()[header::ETAG].to_str().unwrap().to_owned();
    assert_ne!(plain.headers()[header::ETAG], tag, "other bytes, another tag");
    assert_eq!(get("gzip", &tag).await.status(), 304);
    assert_eq!(get("identity", &tag).await.status(), 200);

    let bytes = async |response: Response| response.into_body().collect().await.unwrap().to_bytes();
    let (plain, gzipped) = (bytes(plain).await, bytes(gzipped).await);
    assert!(gzipped.len() < plain.len() / 5, "{} of {}", gzipped.len(), plain.len());
    let mut text = Vec::new();
    GzDecoder::new(&gzipped[..]).read_to_end(&mut text).unwrap();
    assert!(text == plain);
}

#[tokio::test]
async fn a_browser_gets_a_page_where_there_is_none() {
    let service = Service::start().await;
    let get = async |path: &str, accept: &str| {
        let request = Request::get(path).header(header::ACCEPT, accept);
        service.response(request.body(Body::empty()).unwrap()).await
    };
    for path in ["/nowhere", "/errors/NO_SUCH_CODE"] {
        let page = get(path, "text/html,application/xhtml+xml,*/*;q=0.8").await;
        assert_eq!(
            (page.status().as_u16(), &page.headers()[header::VARY]),
            (404, &"Accept".parse().unwrap())
        );
        assert_eq!(page.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert!(page.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        assert_eq!(page.headers()[header::LINK], "</errors/INTERNAL_RESOURCE_NOT_FOUND>; rel=\"help\"");
        let text = page.into_body().collect().await.unwrap().to_bytes();
        assert!(std::str::from_utf8(&text).unwrap().contains("There is no such page"));

        let json = get(path, "*/*").await;
        assert_eq!(json.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(json.headers()[header::VARY], "Accept");
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
        let sample = format!("&quot;code&quot;: &quot;{}&quot;", entry.code);
        assert!(page.contains(&sample) && all.contains(&sample), "{page}");
        assert!(all.contains(&format!("href=\"#{}\"", entry.code)), "the index has {}", entry.code);
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
