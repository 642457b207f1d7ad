//! Content negotiation (RFC 9110, 12.5): HTML or JSON, compressed or not.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

/// For pages: HTML is the default, also of equal weights.
pub(crate) fn prefers_json(headers: &HeaderMap) -> bool {
    json(headers) > html(headers)
}

/// For answers of the API: JSON is the default, also of equal weights.
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    html(headers) > json(headers)
}

pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    quality(headers, &ACCEPT_ENCODING, ["gzip", "x-gzip"]) > 0.0
}

fn json(headers: &HeaderMap) -> f32 {
    quality(headers, &ACCEPT, ["application/json", "application/*"])
}

fn html(headers: &HeaderMap) -> f32 {
    quality(headers, &ACCEPT, ["text/html", "text/*"])
}

/// The weight of what the first of the names that the header has stands for. `*/*` and `*` are ignored, as they weigh everything
/// alike.
fn quality(headers: &HeaderMap, header: &HeaderName, names: [&str; 2]) -> f32 {
    let accepted = |wanted: &str| {
        let lists = headers.get_all(header).iter().filter_map(|list| list.to_str().ok());
        lists.flat_map(|list| list.split(',')).find_map(|item| {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let weight = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
            let weight = weight.map_or(1.0, |text| text.trim().parse().unwrap_or(0.0));
            name.trim().eq_ignore_ascii_case(wanted).then_some(weight)
        })
    };
    names.into_iter().find_map(accepted).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_browser("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false, true)]
    #[case::curl("*/*", false, false)]
    #[case::json("application/json", true, false)]
    #[case::fetch("application/json, text/plain, */*", true, false)]
    #[case::rather_json("text/html;q=0.5, Application/JSON; q=0.9", true, false)]
    #[case::rather_html("application/json;q=0.5, text/*", false, true)]
    #[case::any_application("application/*", true, false)]
    #[case::both_alike("text/html, application/json", false, false)]
    #[case::no_json("application/json;q=0", false, false)]
    #[case::nonsense(";;q=,", false, false)]
    fn chooses(#[case] accept: &str, #[case] json: bool, #[case] html: bool) {
        let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
        assert_eq!((prefers_json(&headers), prefers_html(&headers)), (json, html));
    }

    #[test]
    fn each_has_its_default() {
        let headers = HeaderMap::new();
        assert_eq!(
            (prefers_json(&headers), prefers_html(&headers), accepts_gzip(&headers)),
            (false, false, false)
        );
    }

    #[rstest]
    #[case::a_browser("gzip, deflate, br, zstd", true)]
    #[case::weighed("br;q=1.0, gzip;q=0.8, *;q=0.1", true)]
    #[case::rejected("gzip;q=0, *", false)]
    #[case::another("br", false)]
    fn compresses(#[case] accept: &str, #[case] gzip: bool) {
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, accept.parse().unwrap())]);
        assert_eq!(accepts_gzip(&headers), gzip);
    }
}
