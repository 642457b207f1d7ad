//! The statements of a distributed database answer as those of a single Postgres do. Here both run on a single one, which has all
//! functions; what only a cluster shows is shown by the whole suite on a cluster (CONTRIBUTING.md).

use std::collections::{HashMap, HashSet};

use customer_match::db::customer_match_import::{self, EndedRelations};
use customer_match::db::distribution::DELEGATED_FUNCTIONS;
use futures_util::future::{join, join_all};
use rand::prelude::*;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use crate::support::{CREATE, CUSTOMER, MAGIC_AUTH, MANAGER, MATCH, Service, UNMATCH, UPDATE};

/// Two servers with the same customers.
struct Pair {
    single: Service,
    distributed: Service,
}

const NOT_THERE: &str = "ABCDEFGHIJKLMNOP";
const DELETED: &str = "deleted000000000";

fn customers() -> impl Iterator<Item = (String, String)> {
    (0..6).map(|i| (format!("customer{i:08}"), format!("c{i}@example.com")))
}

impl Pair {
    async fn start() -> Self {
        let (single, distributed) = join(Service::start(), Service::start()).await;
        let distributed = distributed.taken_for_distributed();
        for service in [&single, &distributed] {
            for (cu_ref_no, email) in customers() {
                service.add_customer(&cu_ref_no, Some(&email)).await;
            }
            service.add_customer(DELETED, Some("deleted@example.com")).await;
            service.delete_customer(DELETED).await;
        }
        Self { single, distributed }
    }

    /// Makes the calls at the same time on either server, and returns the answers of the single one, which are those of the other.
    async fn post_all(&self, calls: &[(&str, Value)]) {
        let post = async |service: &Service| {
            let answers = calls.iter().map(async |(path, body)| {
                let uri = format!("{path}?apiKey={}", service.key);
                let answer = service.post(&uri, body.clone()).await;
                comparable(answer.status, answer.body)
            });
            join_all(answers).await
        };
        let (single, distributed) = join(post(&self.single), post(&self.distributed)).await;
        for ((call, single), distributed) in calls.iter().zip(single).zip(distributed) {
            assert_eq!(distributed, single, "{call:?}");
        }
    }

    async fn assert_same_rows(&self) {
        let (single, distributed) = join(rows(&self.single), rows(&self.distributed)).await;
        assert_eq!(distributed, single);
    }
}

/// Relations by their customers' addresses, since the references of guests are random.
async fn rows(service: &Service) -> Vec<String> {
    let sql = "
        select concat_ws(
            ' ',
            coalesce(manager.email, manager.cu_ref_no), coalesce(customer.email, customer.cu_ref_no), notice, active, deactivated_at = m.updated_at, version
        )
        from customer_match m
        cross join lateral (values
            (low_cu_ref_no, high_cu_ref_no, low_is_manager), (high_cu_ref_no, low_cu_ref_no, high_is_manager)
        ) as side (manager, customer, is_manager)
        join customer as manager on manager.organisation_id = $1 and manager.cu_ref_no = side.manager
        join customer as customer on customer.organisation_id = $1 and customer.cu_ref_no = side.customer
        where m.organisation_id = $1 and is_manager
        union all
        select concat_ws(' ', email, first_name, phone) from customer where organisation_id = $1
        order by 1";
    sqlx::query_scalar(sql).bind(service.organisation).fetch_all(&service.pool).await.unwrap()
}

/// Without what differs by chance: times, and the references of guests.
fn comparable(status: u16, mut body: Value) -> String {
    fn clear(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, member) in members.iter_mut() {
                    let is_time = name.ends_with("At") && member.is_string();
                    let is_random = name == "requestId" || name == "identityId";
                    if is_time || is_random || name == "cuRefNo" && is_of_guest(member) {
                        *member = json!("…");
                    }
                    clear(member);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(clear),
            _ => {}
        }
    }
    clear(&mut body);
    format!("{status} {body}")
}

fn is_of_guest(cu_ref_no: &Value) -> bool {
    cu_ref_no.as_str().is_some_and(|cu_ref_no| {
        ![MANAGER, CUSTOMER, NOT_THERE, DELETED].contains(&cu_ref_no) && !cu_ref_no.starts_with("customer")
    })
}

/// Some calls of which no two are about one pair or one address.
fn calls(random: &mut SmallRng, round: usize) -> Vec<(&'static str, Value)> {
    let known: Vec<_> = customers().collect();
    let mut pairs: Vec<_> = (0..known.len())
        .flat_map(|a| (0..a).map(move |b| if (a + b) % 2 == 0 { (a, b) } else { (b, a) }))
        .collect();
    pairs.shuffle(random);
    let mut calls = Vec::new();
    for (index, (a, b)) in pairs.into_iter().enumerate() {
        let (manager, (cu_ref_no, email)) = (&known[a].0, &known[b]);
        let notice = ["one", "two", ""].choose(random).unwrap();
        let call = match random.random_range(0..14) {
            0..3 => {
                (MATCH, json!({ "managerCuRefNo": manager, "customerCuRefNo": cu_ref_no, "notice": notice }))
            }
            3 => (MATCH, json!({ "managerCuRefNo": manager, "customerCuRefNo": cu_ref_no })),
            4 => (MATCH, json!({ "managerCuRefNo": manager, "customerEmail": email, "notice": notice })),
            5 => (
                MATCH,
                json!({ "managerCuRefNo": manager, "customerEmail": format!("new{round}.{index}@example.com") }),
            ),
            6 => (
                MATCH,
                json!({ "managerCuRefNo": manager, "customerEmail": "deleted@example.com", "notice": notice }),
            ),
            7 => (MATCH, json!({ "managerCuRefNo": manager, "customerCuRefNo": NOT_THERE })),
            8 => (MATCH, json!({ "managerCuRefNo": DELETED, "customerCuRefNo": cu_ref_no })),
            9 => (MATCH, json!({ "managerCuRefNo": manager, "customerEmail": known[a].1 })),
            10 | 11 => (UNMATCH, json!({ "managerCuRefNo": manager, "customerCuRefNo": cu_ref_no })),
            12 => (
                CREATE,
                json!({ "email": format!("created{round}.{index}@example.com"), "firstName": notice }),
            ),
            _ => (MAGIC_AUTH, json!({ "email": format!("session{round}.{index}@example.com") })),
        };
        calls.push(call);
    }
    calls.push((UPDATE, json!({ "cuRefNo": MANAGER, "phone": format!("+42{round}"), "firstName": "Jan" })));
    calls.push((UPDATE, json!({ "email": "jan@barasek.com", "newEmail": "c1@example.com" })));
    calls.push((UPDATE, json!({ "cuRefNo": NOT_THERE, "phone": "+420" })));
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_writes_come_to_the_same() {
    let pair = Pair::start().await;
    let mut random = SmallRng::seed_from_u64(18);
    for round in 0..25 {
        pair.post_all(&calls(&mut random, round)).await;
        pair.assert_same_rows().await;
    }
}

#[tokio::test]
async fn imports_of_ended_relations_come_to_the_same() {
    let pair = Pair::start().await;
    let mut random = SmallRng::seed_from_u64(18);
    let known: Vec<_> = customers().collect();
    let mut changes = HashSet::new();
    for round in 0..12 {
        pair.post_all(&calls(&mut random, round)).await;
        let mut relations = EndedRelations::default();
        let mut add = |manager, cu_ref_no, email, random: &mut SmallRng| {
            relations.managers.push(manager);
            relations.cu_ref_nos.push(cu_ref_no);
            relations.emails.push(email);
            relations.notices.push(*[None, Some(""), Some("one"), Some("two")].choose(random).unwrap());
            relations.mutual.push(random.random());
        };
        // Those that are rejected come first.
        let (manager, email) = &known[0];
        for (manager, cu_ref_no, email) in [
            (&**manager, None, Some(&**email)),
            (DELETED, Some(&**manager), None),
            (manager, Some(NOT_THERE), None),
            (manager, None, Some("nowhere@example.com")),
        ] {
            add(manager, cu_ref_no, email, &mut random);
        }
        for a in 0..known.len() {
            for b in 0..a {
                let ((manager, _), (cu_ref_no, email)) =
                    if random.random() { (&known[a], &known[b]) } else { (&known[b], &known[a]) };
                match random.random_range(0..4) {
                    0 => add(manager, Some(cu_ref_no), None, &mut random),
                    1 => add(manager, None, Some(email), &mut random),
                    _ => {}
                }
            }
        }
        let Pair { single, distributed } = &pair;
        let ended = customer_match_import::end(&single.pool, single.organisation, &relations).await.unwrap();
        let also =
            customer_match_import::end_distributed(&distributed.pool, distributed.organisation, &relations);
        assert_eq!(format!("{:#?}", also.await.unwrap()), format!("{ended:#?}"));
        changes.extend(ended.into_iter().map(|ended| ended.change));
        pair.assert_same_rows().await;
    }
    let change = |name: &str| Some(name.to_owned());
    assert_eq!(changes, HashSet::from([None, change("created"), change("ended"), change("updated")]));
}

/// Its name is all that `distribute` knows of it, and Citus places a call by the value of that parameter.
#[tokio::test]
async fn every_delegated_function_has_its_parameter() {
    let service = Service::start().await;
    let sql = "
        select exists (
            select from pg_proc
            where proname = $1 and proargtypes[array_position(proargnames, $2) - 1] = 'int8'::regtype
        )";
    for (name, parameter) in DELEGATED_FUNCTIONS {
        let query = sqlx::query_scalar(sql).bind(name).bind(parameter);
        let found: bool = query.fetch_one(&service.pool).await.unwrap();
        assert!(found, "{name} has no {parameter}");
    }
}

#[tokio::test]
async fn a_representation_is_the_same() {
    let pair = Pair::start().await;
    let mut shown = HashMap::new();
    for (name, service) in [("single", &pair.single), ("distributed", &pair.distributed)] {
        let uri = format!("{MATCH}?apiKey={}", service.key);
        let body =
            json!({ "managerCuRefNo": MANAGER, "customerEmail": "jan@barasek.com", "notice": "hello" });
        let request = crate::support::json_request(&uri)
            .header("prefer", "return=representation")
            .body(axum::body::Body::from(body.to_string()))
            .unwrap();
        let answer = service.call(request).await;
        assert_eq!(answer.status, 200, "{:#}", answer.body);
        shown.insert(name, comparable(answer.status, answer.body));
    }
    assert_eq!(shown["distributed"], shown["single"]);
}
