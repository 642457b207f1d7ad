//! The header `Host`, which a proxy in front may route by: what it and this server read differently is an attack.

use std::sync::LazyLock;

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::{HeaderMap, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use regex::bytes::Regex;

use crate::error::ApiError;
use crate::http::request_context::RequestContext;

/// A host and perhaps a port (RFC 9110, 7.2; RFC 3986, 3.2.2). Empty is valid: what is asked for may have no authority.
static FORMAT: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^(?-u)(?:\[[0-9A-Za-z:.]+\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?$";
    #[expect(clippy::expect_used, reason = "a constant pattern that every test compiles")]
    Regex::new(pattern).expect("the pattern is valid")
});

/// Rejects a request of HTTP/1.1 without the header, and any request that has it twice or with an invalid value (RFC
/// 9112, 3.2).
pub(crate) async fn check_host(request: Request, next: Next) -> Response {
    match check(request.version(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(description) => {
            // Where the next request begins is not believed either.
            let _ = RequestContext::of(request.extensions()).body_unread.set(());
            ApiError::bad_request(description).into_response()
        }
    }
}

fn check(version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => Err("The header Host is missing."),
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err("The header Host is given more than once."),
        (Some(host), None) if FORMAT.is_match(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err("The header Host must be a host name or an IP address, and perhaps a port."),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::name("api.example.com", true)]
    #[case::name_with_port("api.example.com:8080", true)]
    #[case::empty("", true)]
    #[case::empty_port("h:", true)]
    #[case::underscore("my_service:8080", true)]
    #[case::escaped("b%C3%BCcher.de", true)]
    #[case::version_4("127.0.0.1:8080", true)]
    #[case::version_6("[2001:db8::1]:8080", true)]
    #[case::white_space("a b", false)]
    #[case::list("a, b", false)]
    #[case::user("user@h", false)]
    #[case::url("http://h", false)]
    #[case::path("h/path", false)]
    #[case::query("h?a=b", false)]
    #[case::port_of_letters("h:http", false)]
    #[case::two_ports("h:80:80", false)]
    #[case::version_6_without_brackets("2001:db8::1", false)]
    #[case::open_bracket("[::1", false)]
    #[case::broken_escape("h%zz", false)]
    #[case::not_ascii("bücher.de", false)]
    fn is_a_host(#[case] value: &str, #[case] valid: bool) {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_bytes(value.as_bytes()).unwrap())]);
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(check(version, &headers).is_ok(), valid);
        }
    }

    #[rstest]
    #[case::missing(Version::HTTP_11, 0, false)]
    #[case::missing_in_version_1_0(Version::HTTP_10, 0, true)]
    // The pseudo-header `:authority` has taken its place.
    #[case::missing_in_version_2(Version::HTTP_2, 0, true)]
    #[case::twice(Version::HTTP_11, 2, false)]
    #[case::twice_in_version_1_0(Version::HTTP_10, 2, false)]
    #[case::twice_in_version_2(Version::HTTP_2, 2, false)]
    fn is_there_once(#[case] version: Version, #[case] times: usize, #[case] valid: bool) {
        let mut headers = HeaderMap::new();
        for _ in 0..times {
            headers.append(HOST, HeaderValue::from_static("h"));
        }
        assert_eq!(check(version, &headers).is_ok(), valid);
    }
}
