//! What a key may do: kind × scope × call, and what the answers show of it.

use axum::body::Body;
use axum::http::{Method, Request, header};
use customer_match::db::api_key::{self, NewKey};
use customer_match::domain::{ApiKey, KeyKind, Scope};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Answer, BATCH, CREATE, CUSTOMER, DETAIL, DOCUMENT, LIST, LOGOUT, MAGIC_AUTH, MANAGER, MATCH, Service,
    UNMATCH, json_request, uri,
};

const KEYS: &str = include_str!("../../docs/keys.md");
const ORIGIN: &str = "https://app.example";
const SCOPE_MISSING: &str = "PUBLIC_API_KEY_SCOPE_NOT_ALLOWED";

/// A way of calling an operation that takes a key.
struct Call {
    method: Method,
    path: &'static str,
    /// The parameter with which it needs the scope.
    parameter: Option<&'static str>,
    /// `None`: any key may make the call.
    scope: Option<&'static str>,
    publishable: bool,
}

/// All of the document.
fn calls() -> Vec<Call> {
    let mut calls = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["security"] == json!([{}]) {
                continue;
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            match operation["responses"]["403"]["x-required-scopes"].as_array() {
                None => calls.push(Call { method, path, parameter: None, scope: None, publishable: true }),
                Some(required) => calls.extend(required.iter().map(|required| Call {
                    method: method.clone(),
                    path,
                    parameter: required["parameter"].as_str(),
                    scope: required["scope"].as_str(),
                    publishable: required["publishable"] == true,
                })),
            }
        }
    }
    calls
}

impl Call {
    fn is_open_to(&self, column: &Column) -> bool {
        let Some(needed) = self.scope else { return true };
        if column.publishable {
            self.publishable
        } else {
            column.scopes.is_empty() || column.scopes.contains(&needed)
        }
    }

    /// Valid but for what names customers.
    async fn make(&self, service: &Service, key: &str, origin: Option<&'static str>) -> Answer {
        let value = |name| if name == "identityId" { "0123456789abcdefghijABCDEFGHIJKL" } else { CUSTOMER };
        let parameters: Vec<_> = self.parameter.into_iter().map(|name| (name, value(name))).collect();
        let mut request = Request::builder().method(&self.method).uri(uri(self.path, key, &parameters));
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Body::from("{}"));
        service.call(request.unwrap()).await
    }
}

/// A key, as the table has them side by side.
struct Column {
    name: String,
    scopes: Vec<&'static str>,
    publishable: bool,
}

/// A key without scopes, one with each, and one that is publishable.
fn columns() -> Vec<Column> {
    let column = |name: String, scopes, publishable| Column { name, scopes, publishable };
    let each = Scope::ALL.map(|scope| column(format!("`{scope}`"), vec![scope.as_str()], false));
    let publishable = column("publishable".into(), vec!["customer.match"], true);
    std::iter::once(column("no scope".into(), vec![], false)).chain(each).chain([publishable]).collect()
}

/// As docs/keys.md has it.
fn table() -> String {
    let columns = columns();
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    let header = format!("| call | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    let rows = calls().into_iter().map(|call| {
        let parameter = call.parameter.map(|name| format!(" with `{name}`")).unwrap_or_default();
        let cells = columns.iter().map(|column| if call.is_open_to(column) { " yes |" } else { " |" });
        format!("| `{} {}`{parameter} |{}\n", call.method, call.path, cells.collect::<String>())
    });
    header + &rows.collect::<String>()
}

#[test]
fn the_documented_table_is_that_of_the_code() {
    assert!(KEYS.contains(&table()), "docs/keys.md needs this table:\n{}", table());
}

/// Every cell of the table, for every kind of key.
#[tokio::test]
async fn every_cell_of_the_table_holds() {
    let service = Service::start().await;
    for kind in KeyKind::ALL {
        // A publishable key has a limit.
        for column in columns().iter().filter(|column| !(column.publishable && kind == KeyKind::Root)) {
            let key = ApiKey::generate(kind);
            let scopes: Vec<_> = column.scopes.iter().map(ToString::to_string).collect();
            let allowed_origins = column.publishable.then(|| ORIGIN.to_owned());
            let new = NewKey {
                scopes: &scopes,
                allowed_origins: allowed_origins.as_slice(),
                client_limit_per_minute: column.publishable.then_some(60),
                ..Default::default()
            };
            api_key::create(&service.pool, service.organisation, &key, &new).await.unwrap().unwrap();
            for call in calls() {
                let answer = call.make(&service, key.expose(), column.publishable.then_some(ORIGIN)).await;
                let cell =
                    format!("{kind:?} {} {} {} {:?}", column.name, call.method, call.path, call.parameter);
                assert_eq!(answer.status != 403, call.is_open_to(column), "{cell}: {:#}", answer.body);
                if answer.status == 403 {
                    answer.assert_error(403, SCOPE_MISSING);
                    let expected = match column.publishable {
                        true => "A publishable key does not open this endpoint.".into(),
                        false => format!("The key lacks the scope \"{}\".", call.scope.unwrap()),
                    };
                    assert_eq!(answer.body["error"]["description"], expected, "{cell}");
                }
            }
        }
    }
}

#[tokio::test]
async fn scopes_add_up() {
    let service = Service::start().await;
    let key = service.add_key(service.organisation, &["customer.write", "customer.session"]).await;
    for (path, allowed) in
        [(CREATE, true), (MAGIC_AUTH, true), (LOGOUT, true), (MATCH, false), (UNMATCH, false)]
    {
        let answer = service.post(&uri(path, &key, &[]), json!({})).await;
        assert_eq!(answer.status != 403, allowed, "{path}");
    }
}

/// A list without a customer is invalid for any key that may list.
#[tokio::test]
async fn a_call_that_names_nothing_needs_any_scope_of_its_endpoint() {
    let service = Service::start().await;
    for (scope, status) in [("customer.read", 422), ("customer.session", 422), ("customer.match", 403)] {
        let key = service.add_key(service.organisation, &[scope]).await;
        let answer = service.get(&uri(LIST, &key, &[])).await;
        assert_eq!(answer.status, status, "{scope}");
        if status == 403 {
            let description = "The key lacks the scope \"customer.session\" or \"customer.read\".";
            assert_eq!(answer.body["error"]["description"], description);
        }
    }
}

#[tokio::test]
async fn the_document_says_which_scope_an_operation_needs() {
    let list = &DOCUMENT["paths"][LIST]["get"];
    let sentence =
        "A key with scopes needs `customer.session` with `identityId`, `customer.read` with `cuRefNo`.";
    assert!(list["description"].as_str().unwrap().ends_with(sentence), "{list:#}");
    let scopes: Vec<_> =
        list["security"].as_array().unwrap().iter().map(|one| one["bearer"][0].clone()).collect();
    assert!(scopes.contains(&json!("customer.read")) && scopes.contains(&json!("customer.session")));
    let matching = &DOCUMENT["paths"][MATCH]["post"];
    assert_eq!(matching["security"].as_array().unwrap().len(), 2);
    assert!(matching["security"].as_array().unwrap().contains(&json!({ "bearer": ["customer.match"] })));
    assert_eq!(
        matching["responses"]["403"]["x-required-scopes"],
        json!([{ "scope": "customer.match", "publishable": true }])
    );
}

/// The relation without its times and its version, which any key sees.
fn without_times(relation: &mut Value) -> Value {
    let relation = relation.as_object_mut().unwrap();
    for name in ["createdAt", "matchedAt", "updatedAt", "endedAt", "version"] {
        assert!(relation.remove(name).is_some(), "{name}");
    }
    relation.clone().into()
}

async fn represented(service: &Service, key: &str, body: Value) -> Value {
    let request = json_request(&uri(MATCH, key, &[])).header("prefer", "return=representation");
    let mut answer = service.call(request.body(Body::from(body.to_string())).unwrap()).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    without_times(&mut answer.body["relation"])
}

/// Each column of the relation that the call did not send is one that a key with only `customer.match` does not see.
#[rstest]
#[case::by_reference(
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }),
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "active": true })
)]
#[case::by_address(
    json!({ "managerCuRefNo": MANAGER, "customerEmail": "Jan@Barasek.com", "notice": " mine " }),
    json!({ "managerCuRefNo": MANAGER, "customerEmail": "jan@barasek.com", "notice": "mine", "active": true })
)]
#[case::the_reference_decides(
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "customerEmail": "jan@barasek.com" }),
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "active": true })
)]
#[case::a_cleared_notice(
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": "" }),
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": null, "active": true })
)]
#[tokio::test]
async fn a_representation_shows_what_was_sent(#[case] body: Value, #[case] expected: Value) {
    let service = Service::start().await;
    let before = json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER, "notice": "another's" });
    service.post_match(before).await.assert_success();
    let may_match = service.add_key(service.organisation, &["customer.match"]).await;
    assert_eq!(represented(&service, &may_match, body.clone()).await, expected);

    let may_read = service.add_key(service.organisation, &["customer.match", "customer.read"]).await;
    let all = represented(&service, &may_read, body).await;
    assert_eq!(all["customerEmail"], "jan@barasek.com");
    assert_eq!((all["customerCuRefNo"].as_str(), all.get("notice").is_some()), (Some(CUSTOMER), true));
}

#[tokio::test]
async fn create_shows_a_profile_only_to_a_key_that_may_read() {
    let service = Service::start().await;
    let full =
        json!({ "email": "eva@example.com", "lastName": "Nováková", "taxIdentificationNumber": "CZ1" });
    let known = service.post_to(CREATE, full).await.body["cuRefNo"].clone();
    let create = async |scopes: &[&str]| {
        let key = service.add_key(service.organisation, scopes).await;
        service.post(&uri(CREATE, &key, &[]), json!({ "email": "eva@example.com" })).await.body
    };
    let short = json!({ "success": true, "created": false, "cuRefNo": known });
    assert_eq!(create(&["customer.write"]).await, short);
    let whole = create(&["customer.write", "customer.read"]).await;
    assert_eq!((&whole["lastName"], &whole["taxIdentificationNumber"]), (&json!("Nováková"), &json!("CZ1")));
    assert_eq!(whole, create(&[]).await);
}

/// What a stranger gets with an e-mail address and a key of each scope but those that read.
#[tokio::test]
async fn without_a_scope_that_reads_nothing_of_a_customer_is_answered() {
    let service = Service::start().await;
    let profile = json!({ "email": "eva@example.com", "firstName": "Needle", "phone": "Needle" });
    service.post_to(CREATE, profile).await;
    let notice = json!({ "managerCuRefNo": MANAGER, "customerEmail": "eva@example.com", "notice": "Needle" });
    service.post_match(notice).await.assert_success();
    let key = service.add_key(service.organisation, &["customer.match", "customer.write"]).await;
    let by_address =
        json!({ "managerCuRefNo": MANAGER, "customerEmail": "eva@example.com", "email": "eva@example.com" });
    for call in calls() {
        let uri = uri(call.path, &key, &[("cuRefNo", MANAGER), ("identityId", &"0".repeat(32))]);
        let request = if call.method == Method::GET {
            Request::get(uri).body(Body::empty()).unwrap()
        } else {
            let request = json_request(&uri).header("prefer", "return=representation");
            let body = if call.path == BATCH { json!([by_address]) } else { by_address.clone() };
            request.body(Body::from(body.to_string())).unwrap()
        };
        let answer = service.call(request).await;
        assert!(!answer.body.to_string().contains("Needle"), "{}: {:#}", call.path, answer.body);
    }
    service.get(&uri(DETAIL, &key, &[])).await.assert_error(403, SCOPE_MISSING);
}
