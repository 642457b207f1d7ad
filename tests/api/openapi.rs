//! The OpenAPI document. Every test checks its answers against it (`support::contract`).

use std::collections::BTreeSet;
use std::fs;

use axum::body::Body;
use axum::http::{Request, header};
use customer_match::demo;
use customer_match::domain::ApiKey;
use customer_match::error::ErrorCode;
use customer_match::http::openapi_document;
use serde_json::{Value, json};

use crate::support::binary::{command, run};
use crate::support::{DOCUMENT, LIST, LOGOUT, MANAGER, MATCH, Service, UNMATCH, uri};

#[test]
fn the_committed_document_is_current() {
    let committed = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json")).unwrap();
    assert!(
        committed == openapi_document(),
        "openapi.json is stale: cargo run -- openapi > openapi.json, and commit it"
    );
}

#[test]
fn the_subcommand_prints_it() {
    assert!(run(command(&["openapi"])) == openapi_document());
}

#[tokio::test]
async fn it_is_served_with_an_etag() {
    let service = Service::start().await;
    let answer = service.get("/openapi.json").await;
    assert_eq!((answer.status, &answer.body), (200, &*DOCUMENT));
    let tag = &answer.headers[header::ETAG];
    let tag_text = tag.to_str().unwrap();
    let beside_another = format!("\"other\", W/{tag_text}");
    for (known, status) in
        [(tag_text, 304), (&beside_another, 304), ("*", 304), ("\"other\"", 200), ("malformed", 200)]
    {
        let request = Request::get("/openapi.json").header(header::IF_NONE_MATCH, known);
        let again = service.response(request.body(Body::empty()).unwrap()).await;
        assert_eq!(again.status(), status, "{known}");
        assert_eq!(&again.headers()[header::ETAG], tag);
    }
}

#[test]
fn operations_have_the_documented_names() {
    let operation = &DOCUMENT["paths"][MATCH]["post"];
    assert_eq!(operation["operationId"], "postApiV1CustomerCustomer-match-customer");
    assert_eq!(operation["summary"], "Create many-to-many relation between two customers.");
    assert_eq!(operation["tags"], serde_json::json!(["customer"]));
    assert_eq!(operation["x-operation-name"], "matchCustomers");
    let operations =
        DOCUMENT["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let names: Vec<_> = operations.map(|operation| operation["x-operation-name"].as_str().unwrap()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "each name is of one operation");
}

/// What openapi-generator refuses a document without, and what its clients go by.
#[test]
fn clients_can_be_generated() {
    assert_eq!(DOCUMENT["info"]["license"]["identifier"], "MIT");
    assert_eq!(DOCUMENT["servers"], serde_json::json!([{ "url": "/" }]));
    // A key in a URL ends up in logs.
    assert_eq!(DOCUMENT["security"], serde_json::json!([{ "bearer": [] }, { "keyInQuery": [] }]));
    let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap();
    for taken in ["Error", "Exception", "Object", "String", "ApiError", "ErrorResponse", "Response", "Result"]
    {
        assert!(!schemas.contains_key(taken), "{taken} is a type of a language or of a generator");
    }
}

/// A code is described where it can happen, so one that is described nowhere can happen nowhere. The one exception is no
/// answer of an operation.
#[test]
fn every_code_is_described() {
    let described: BTreeSet<_> = responses()
        .filter_map(|response| response["content"]["application/json"]["examples"].as_object())
        .flat_map(|examples| examples.keys().map(String::as_str))
        .collect();
    let all: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.entry().code).collect();
    assert_eq!(all.difference(&described).copied().collect::<Vec<_>>(), ["INTERNAL_METHOD_NOT_ALLOWED"]);
}

#[test]
fn references_lead_somewhere() {
    let text = openapi_document();
    let references = text.split("\"$ref\": \"#").skip(1).map(|rest| rest.split('"').next().unwrap());
    let broken: BTreeSet<_> = references.filter(|pointer| DOCUMENT.pointer(pointer).is_none()).collect();
    assert_eq!(broken, BTreeSet::new());
}

/// Sends every example from top to bottom, as a newcomer does, who then looks at the list again and tries what was tried.
#[tokio::test]
async fn the_examples_work_in_demo_mode() {
    let service = Service::start_in_demo_mode().await;
    demo::set_up(&service.pool).await.unwrap();
    send_the_examples(&service, &[]).await;
    let list = service.get(&uri(LIST, ApiKey::SAMPLE, &[("cuRefNo", MANAGER)])).await;
    assert_eq!(list.body["itemCount"], 1, "the documented relation is still there: {:#}", list.body);
    // Only a session ends for good.
    send_the_examples(&service, &[LOGOUT]).await;
}

/// What visitors have made of the sample data stays.
#[tokio::test]
async fn the_sample_data_is_created_once() {
    let service = Service::start_in_demo_mode().await;
    demo::set_up(&service.pool).await.unwrap();
    let trainer = [("cuRefNo", "trainerPetra0001")];
    let count = async || service.get(&uri(LIST, ApiKey::SAMPLE, &trainer)).await.body["itemCount"].clone();
    assert_eq!(count().await, 10);
    let pair = json!({ "managerCuRefNo": "trainerPetra0001", "customerCuRefNo": "clientJakub00011" });
    assert_eq!(service.post(&uri(UNMATCH, ApiKey::SAMPLE, &[]), pair).await.status, 200);
    demo::set_up(&service.pool).await.unwrap();
    assert_eq!(count().await, 9);
}

async fn send_the_examples(service: &Service, left_out: &[&str]) {
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        if left_out.contains(&path.as_str()) {
            continue;
        }
        for (method, operation) in item.as_object().unwrap() {
            let mut parameters = Vec::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                let examples = [
                    &parameter["example"],
                    &parameter["schema"]["examples"][0],
                    &parameter["schema"]["default"],
                ];
                // A cursor can only be got, so there is no example of one.
                if name == "cursor" {
                    continue;
                }
                let example = examples.into_iter().find(|example| !example.is_null());
                let example = example.unwrap_or_else(|| panic!("{name} has no example"));
                // Of the two that exclude each other in a list, the one for a back end.
                let excluded = path == LIST && name == "identityId";
                if parameter["in"] == "query" && !excluded {
                    parameters.push((name, example.as_str().map_or_else(|| example.to_string(), Into::into)));
                }
            }
            let parameters: Vec<_> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let uri = uri(path, ApiKey::SAMPLE, &parameters);
            let answer = match method.as_str() {
                "get" => service.get(&uri).await,
                _ => {
                    service
                        .post(
                            &uri,
                            operation["requestBody"]["content"]["application/json"]["example"].clone(),
                        )
                        .await
                }
            };
            assert_eq!(answer.status, 200, "{path}: {:#}", answer.body);
        }
    }
}

fn responses() -> impl Iterator<Item = &'static Value> {
    let operations =
        DOCUMENT["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    operations.flat_map(|operation| operation["responses"].as_object().unwrap().values())
}
