//! Content negotiation between HTML and JSON (RFC 9110, 12.5.1).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// HTML is the default, also of equal weights.
pub(super) fn prefers_json(headers: &HeaderMap) -> bool {
    quality(headers, ["application/json", "application/*"]) > quality(headers, ["text/html", "text/*"])
}

/// The weight of a media type, by its own range or else the wider one. `*/*` is ignored, as it weighs both types alike.
fn quality(headers: &HeaderMap, ranges: [&str; 2]) -> f32 {
    let accepted = |wanted: &str| {
        let lists = headers.get_all(ACCEPT).iter().filter_map(|list| list.to_str().ok());
        lists.flat_map(|list| list.split(',')).find_map(|range| {
            let (range, parameters) = range.split_once(';').unwrap_or((range, ""));
            let weight = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
            let weight = weight.map_or(1.0, |text| text.trim().parse().unwrap_or(0.0));
            range.trim().eq_ignore_ascii_case(wanted).then_some(weight)
        })
    };
    ranges.into_iter().find_map(accepted).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_browser("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false)]
    #[case::curl("*/*", false)]
    #[case::json("application/json", true)]
    #[case::fetch("application/json, text/plain, */*", true)]
    #[case::rather_json("text/html;q=0.5, Application/JSON; q=0.9", true)]
    #[case::rather_html("application/json;q=0.5, text/*", false)]
    #[case::any_application("application/*", true)]
    #[case::no_json("application/json;q=0", false)]
    #[case::nonsense(";;q=,", false)]
    fn chooses(#[case] accept: &str, #[case] json: bool) {
        let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
        assert_eq!(prefers_json(&headers), json);
    }

    #[test]
    fn html_is_the_default() {
        assert!(!prefers_json(&HeaderMap::new()));
    }
}
