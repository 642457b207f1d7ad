//! The query string, behind a good key: of lists, of the changes and of a detail.
#![no_main]

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use customer_match::domain::ApiKey;
use customer_match_fuzz::Server;
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

fuzz_target!(init: LazyLock::force(&SERVER), |query: &str| -> Corpus {
    for path in [
        "/api/v1/customer/matched-customer-list",
        "/api/v1/customer/list",
        "/api/v1/customer/match-changes",
        "/api/v1/customer/detail",
    ] {
        // A second `wait` is invalid, so that none is waited for.
        let uri = format!("{path}?apiKey={}&wait=0&{query}", ApiKey::SAMPLE);
        let Ok(request) = Request::get(uri).body(Body::empty()) else { return Corpus::Reject };
        let answer = SERVER.call(request);
        if answer.head.status == StatusCode::UNPROCESSABLE_ENTITY {
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            let (field, description) = (&body["error"]["field"], &body["error"]["description"]);
            let known = ["identityId", "cuRefNo", "query", "limit", "cursor", "wait"];
            assert!(known.iter().any(|name| field == name), "{body}");
            assert!(description.as_str().unwrap().contains(field.as_str().unwrap()), "{body}");
        }
    }
    Corpus::Keep
});
