//! Checks every answer that any test gets against the OpenAPI document: an answer that it does not describe is a fault.

use std::sync::LazyLock;

use axum::http::{Method, header};
use serde_json::Value;

use super::Answer;

pub static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(customer_match::http::openapi_document()).unwrap());

/// The status, the error's code and the headers are those of the operation. Paths without an operation are not described.
#[track_caller]
pub fn assert_documented(method: &Method, path: &str, answer: &Answer) {
    let operation = &DOCUMENT["paths"][path][method.as_str().to_lowercase()];
    if operation.is_null() {
        return;
    }
    let response = &operation["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{method} {path} answers {}, which is not documented", answer.status);
    if let Some(code) = answer.body["error"]["code"].as_str() {
        let example = &response["content"]["application/json"]["examples"][code]["value"]["error"];
        assert_eq!(
            example["code"], code,
            "{method} {path} answers {} {code}, which is not documented",
            answer.status
        );
        assert_eq!(example["message"], answer.body["error"]["message"]);
        let error = &answer.body["error"];
        assert_eq!(example["field"].is_string(), error["field"].is_string());
        for name in ["field", "description"] {
            let first = &error["errors"][0][name];
            assert!(
                error["field"].is_null() || *first == error[name],
                "the first of all is repeated: {error:#}"
            );
        }
    }
    for name in
        ["x-request-id", "link", "retry-after", "preference-applied", "etag", "x-ratelimit-limit", "sunset"]
    {
        let documented =
            response["headers"].as_object().unwrap().keys().any(|key| key.eq_ignore_ascii_case(name));
        assert!(
            documented || !answer.headers.contains_key(name),
            "{method} {path}: {name} is not documented"
        );
    }
    let content = &response["content"];
    match answer.headers.get(header::CONTENT_TYPE) {
        Some(content_type) => assert!(
            content[content_type.to_str().unwrap()].is_object(),
            "{method} {path}: {content_type:?} is not documented"
        ),
        None => assert!(content.is_null(), "{method} {path}: the documented content is missing"),
    }
}
