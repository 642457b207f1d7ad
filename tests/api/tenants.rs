//! Two organisations: on no route does one learn anything of the other, or reach into it.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, header};
use chrono::DateTime;
use customer_match::domain::{CuRefNo, Cursor, CursorKey};
use serde_json::{Map, Value, json};

use crate::support::{
    Answer, CREATE, CUSTOMER, DETAIL, DOCUMENT, LIST, MAGIC_AUTH, MANAGER, MATCH, Service, UNMATCH, uri,
};

/// Exists in the other organisation only.
const FOREIGN: &str = "onlyInTheOther01";

/// The same customers in both, one more in the other; there everything is related to everything and has a notice.
async fn neighbours() -> (Service, String) {
    let service = Service::start().await;
    let (other, key) = service.add_organisation("Other").await;
    service.add_customer_of(other, MANAGER, Some("eva@example.com")).await;
    service.add_customer_of(other, CUSTOMER, Some("jan@barasek.com")).await;
    service.add_customer_of(other, FOREIGN, Some("foreign@example.com")).await;
    for (manager, customer) in [(MANAGER, CUSTOMER), (MANAGER, FOREIGN), (CUSTOMER, FOREIGN)] {
        let relation = json!({ "managerCuRefNo": manager, "customerCuRefNo": customer, "notice": "secret" });
        service.post(&uri(MATCH, &key, &[]), relation).await.assert_success();
    }
    service.execute("update customer set last_name = 'Secret' where organisation_id = 2").await;
    (service, key)
}

/// What an input of an operation may be given.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Given {
    Nothing,
    /// Of the organisation whose key it is.
    Own,
    /// In the one call of the other organisation, in the other call of nobody.
    Strange,
}

/// An organisation as the walk finds it: two customers with names and a relation, one of them logged in.
struct Tenant {
    key: String,
    manager: &'static str,
    customer: &'static str,
    email: &'static str,
    name: &'static str,
    identity: String,
}

impl Tenant {
    /// What this input is to name this tenant's data; `None` for an input that names nothing.
    ///
    /// An input that is not listed here fails the walk: whoever adds one says what it names.
    fn value(&self, input: &str) -> Option<String> {
        Some(match input {
            "managerCuRefNo" => self.manager.into(),
            "customerCuRefNo" | "cuRefNo" => self.customer.into(),
            "email" | "customerEmail" => self.email.into(),
            "query" => self.name.into(),
            "identityId" => self.identity.clone(),
            "cursor" => made_up_cursor(self.customer),
            "notice"
            | "limit"
            | "wait"
            // Given, it becomes one's own. tests/api/customer_update.rs gives that of another organisation.
            | "newEmail"
            | "operation"
            | "firstName"
            | "lastName"
            | "companyName"
            | "phone"
            | "customerRealIp"
            | "companyRegistrationNumber"
            | "taxIdentificationNumber" => return None,
            _ => panic!("{input} is new: does it name anything that belongs to an organisation?"),
        })
    }

    fn names(&self) -> [&str; 5] {
        [self.manager, self.customer, self.name, &self.identity, self.email]
    }

    /// What nobody else may ever read. An address is none: a caller makes a guest of whoever it likes.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        self.names().into_iter().take(4)
    }
}

/// Nobody's.
fn nobody() -> Tenant {
    Tenant {
        key: String::new(),
        manager: "nobodyIsManager1",
        customer: "nobodyHasThisOne",
        email: "nobody@example.com",
        name: "Nowhere",
        identity: "0123456789abcdefghijABCDEFGHIJKL".into(),
    }
}

async fn tenant(
    service: &Service,
    (organisation, key): (i64, String),
    [manager, customer]: [&'static str; 2],
    email: &'static str,
    name: &'static str,
) -> Tenant {
    service.add_customer_of(organisation, manager, None).await;
    service.add_customer_of(organisation, customer, Some(email)).await;
    let relation = json!({ "managerCuRefNo": manager, "customerCuRefNo": customer, "notice": name });
    service.post(&uri(MATCH, &key, &[]), relation).await.assert_success();
    service.execute(&format!("update customer set last_name = '{name}' where email = '{email}'")).await;
    Tenant { key, manager, customer, email, name, identity: String::new() }
}

/// As if its signature were right.
fn made_up_cursor(reference: &str) -> String {
    let cursor = Cursor { matched_at: DateTime::UNIX_EPOCH, cu_ref_no: CuRefNo::parse(reference).unwrap() };
    CursorKey::new(b"a key of the client").sign(1, &cursor)
}

/// Headers that name nothing.
const NAMELESS_HEADERS: [&str; 3] = ["Prefer", "If-Match", "If-None-Match"];

/// One operation of the document.
struct Operation {
    method: Method,
    path: &'static str,
    /// Those that name something.
    inputs: Vec<&'static str>,
    /// Whether the body has them in the one element of an array.
    in_array: bool,
}

/// What a schema refers to.
fn resolve(schema: &'static Value) -> &'static Value {
    schema["$ref"].as_str().map_or(schema, |reference| DOCUMENT.pointer(&reference[1..]).unwrap())
}

/// All of them, with whatever they can be given.
fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let mut inputs: Vec<_> = parameters
                .filter(|parameter| !NAMELESS_HEADERS.contains(&parameter["name"].as_str().unwrap()))
                .inspect(|parameter| assert_eq!(parameter["in"], "query", "{method} {path}: {parameter}"))
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            let in_array = body["items"].is_object();
            let schema = resolve(if in_array { &body["items"] } else { body });
            inputs
                .extend(schema["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str));
            inputs.retain(|input| nobody().value(input).is_some());
            let method = method.to_uppercase().parse().unwrap();
            operations.push(Operation { method, path, inputs, in_array });
        }
    }
    operations
}

impl Operation {
    /// Every way of giving each of the inputs something or nothing.
    fn cases(&self) -> Vec<Vec<(&'static str, Given)>> {
        let mut cases = vec![Vec::new()];
        for input in &self.inputs {
            cases = [Given::Nothing, Given::Own, Given::Strange]
                .into_iter()
                .flat_map(|given| cases.iter().map(move |case| [&case[..], &[(*input, given)]].concat()))
                .collect();
        }
        cases
    }

    async fn call(
        &self,
        service: &Service,
        caller: &Tenant,
        stranger: &Tenant,
        case: &[(&str, Given)],
    ) -> Answer {
        let inputs: BTreeMap<&str, String> = case
            .iter()
            .filter_map(|(input, given)| match given {
                Given::Nothing => None,
                Given::Own => Some((*input, caller.value(input)?)),
                Given::Strange => Some((*input, stranger.value(input)?)),
            })
            .collect();
        let request = if self.method == Method::GET {
            let parameters: Vec<_> = inputs.iter().map(|(name, value)| (*name, value.as_str())).collect();
            Request::get(uri(self.path, &caller.key, &parameters)).body(Body::empty())
        } else {
            let body = if self.in_array { json!([inputs]) } else { json!(inputs) };
            Request::builder()
                .method(&self.method)
                .uri(uri(self.path, &caller.key, &[]))
                .header(header::CONTENT_TYPE, "application/json")
                .header("prefer", "return=representation")
                .body(Body::from(body.to_string()))
        };
        service.call(request.unwrap()).await
    }
}

/// All that a client can tell of an answer, but for what is another each time, with the names of `stranger` as those of
/// nobody.
fn visible(answer: &Answer, stranger: &Tenant) -> (u16, HeaderMap, String) {
    let mut headers = answer.headers.clone();
    for name in ["x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset"] {
        headers.remove(name);
    }
    let mut body = answer.body.clone();
    mask(&mut body);
    let mut text = body.to_string();
    for (name, of_nobody) in stranger.names().into_iter().zip(nobody().names()) {
        text = text.replace(name, of_nobody);
    }
    // A refusal's length is that of the id that was asked for, which the client knows.
    headers.remove(header::CONTENT_LENGTH);
    (answer.status, headers, text)
}

/// Hides what is made anew in each call: times, identities, and the references of new guests.
fn mask(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(members) => {
            for (name, member) in members {
                if name.ends_with("At") || name == "identityId" || name.ends_with("uRefNo") {
                    *member = json!("…");
                } else {
                    mask(member);
                }
            }
        }
        _ => {}
    }
}

/// Every row with the organisation that it is of.
async fn rows(service: &Service) -> Vec<(i64, String)> {
    sqlx::query_as(
        "select organisation_id, c::text from customer c
         union all select organisation_id, m::text from customer_match m
         union all select organisation_id, i::text from customer_identity i order by 1, 2",
    )
    .fetch_all(&service.pool)
    .await
    .unwrap()
}

/// Every operation of the document with every way of giving its inputs, both organisations as the one that calls.
#[tokio::test]
async fn what_is_anothers_is_to_every_operation_as_if_it_were_not_there() {
    let service = Service::start().await;
    let [one, other] = [service.add_organisation("One").await, service.add_organisation("Other").await];
    let numbers = [one.0, other.0];
    let mut tenants = [
        tenant(&service, one, ["managerOfTheOne1", "customerOfTheOne"], "eva@example.com", "Nováková").await,
        tenant(&service, other, ["managerOfOther11", "customerOfOther1"], "ivo@example.com", "Dvořák").await,
    ];
    for (operation, caller) in operations().iter().flat_map(|operation| [(operation, 0), (operation, 1)]) {
        // An operation may have ended the last identity.
        for tenant in &mut tenants {
            let logged_in =
                service.post(&uri(MAGIC_AUTH, &tenant.key, &[]), json!({ "email": tenant.email })).await;
            tenant.identity = logged_in.body["identityId"].as_str().unwrap().into();
        }
        let (caller, stranger, strangers) = (&tenants[caller], &tenants[1 - caller], numbers[1 - caller]);
        let mut works = false;
        for case in operation.cases() {
            let asked = format!("{} {} {case:?}", operation.method, operation.path);
            let before = rows(&service).await;
            let foreign = operation.call(&service, caller, stranger, &case).await;
            let after = rows(&service).await;
            if !case.iter().any(|(_, given)| *given == Given::Strange) {
                works |= foreign.status == 200 && !foreign.body.to_string().contains(r#""error":"#);
                continue;
            }
            let missing = operation.call(&service, caller, &nobody(), &case).await;
            assert_eq!(visible(&foreign, stranger), visible(&missing, &nobody()), "{asked}");
            let text = foreign.body.to_string();
            let given: Vec<_> = case
                .iter()
                .filter(|(_, given)| *given == Given::Strange)
                .filter_map(|(input, _)| stranger.value(input))
                .collect();
            for secret in stranger.secrets().filter(|secret| !given.iter().any(|given| given == secret)) {
                assert!(!text.contains(secret), "{asked}: {text}");
            }
            let of_stranger = |rows: &[(i64, String)]| {
                rows.iter()
                    .filter(|(organisation, _)| *organisation == strangers)
                    .cloned()
                    .collect::<Vec<_>>()
            };
            assert_eq!(of_stranger(&before), of_stranger(&after), "{asked}");
            assert!(foreign.status < 400 || before == after, "{asked} was refused and left a trace");
        }
        assert!(works, "{} {} refuses whatever it is given", operation.method, operation.path);
    }
}

#[tokio::test]
async fn the_same_id_is_ones_own_on_every_route() {
    let (service, key) = neighbours().await;
    let foreign_state = async || {
        let rows: Vec<String> = sqlx::query_scalar(
            "select c::text from customer c where organisation_id = 2
             union all select m::text from customer_match m where organisation_id = 2 order by 1",
        )
        .fetch_all(&service.pool)
        .await
        .unwrap();
        rows
    };
    let before = foreign_state().await;

    // There is no relation here, however many there are there.
    let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    service.post_to(UNMATCH, pair.clone()).await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    let identity = service.log_in("jan@barasek.com").await;
    for whose in [("cuRefNo", CUSTOMER), ("identityId", identity.as_str())] {
        for filter in [&[][..], &[("query", "secret")]] {
            let answer = service.get_from(LIST, &[&[whose], filter].concat()).await;
            assert_eq!(
                answer.body,
                json!({ "items": [], "itemCount": 0, "itemCountExact": true, "nextCursor": null })
            );
        }
    }
    let manager_detail = [("identityId", identity.as_str()), ("cuRefNo", MANAGER)];
    service.get_from(DETAIL, &manager_detail).await.assert_error(404, "PUBLIC_CUSTOMER_DETAIL_NOT_PERMITTED");
    let own = service.get_from(DETAIL, &[("identityId", &identity)]).await;
    assert_eq!((&own.body["cuRefNo"], &own.body["lastName"]), (&json!(CUSTOMER), &Value::Null));

    // A cursor made there is none here.
    let page = service.get(&uri(LIST, &key, &[("cuRefNo", CUSTOMER), ("limit", "1")])).await;
    assert_eq!(page.body["items"][0]["cuRefNo"], FOREIGN);
    let cursor = page.body["nextCursor"].as_str().unwrap();
    let answer = service.get_from(LIST, &[("cuRefNo", CUSTOMER), ("cursor", cursor)]).await;
    answer.assert_invalid("cursor");

    // The same address is another customer.
    for (path, body) in [
        (CREATE, json!({ "email": "foreign@example.com", "companyName": "Ours" })),
        (MAGIC_AUTH, json!({ "email": "foreign@example.com", "firstName": "Ours" })),
        (
            MATCH,
            json!({ "managerCuRefNo": MANAGER, "customerEmail": "foreign@example.com", "notice": "ours" }),
        ),
    ] {
        let answer = service.post_to(path, body).await;
        assert_eq!(answer.status, 200, "{:#}", answer.body);
        assert_ne!(answer.body["cuRefNo"], FOREIGN);
        assert_ne!(answer.body["lastName"], "Secret");
    }
    service.post_match(pair.clone()).await.assert_success();
    service.post_to(UNMATCH, pair).await.assert_success();
    assert_eq!(foreign_state().await, before, "nothing there has changed");
}
