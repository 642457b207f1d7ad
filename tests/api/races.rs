//! Calls that meet: all of them succeed, and what they leave behind is what one of them would have left.

use customer_match::db::Layout;
use http_body_util::BodyExt;
use rand::prelude::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{CREATE, CUSTOMER, MAGIC_AUTH, MANAGER, MATCH, Service, UNMATCH, json_request};

/// Posts all bodies to the match endpoint at once.
async fn post_all(service: &Service, bodies: impl IntoIterator<Item = Value>) {
    for (status, body) in post_all_to(service, bodies.into_iter().map(|body| (MATCH, body))).await {
        assert_eq!(status, 200, "{body:#}");
    }
}

/// Posts all bodies to their paths at once; statuses and bodies come in no order.
async fn post_all_to(service: &Service, calls: impl IntoIterator<Item = (&str, Value)>) -> Vec<(u16, Value)> {
    let mut running = JoinSet::new();
    for (path, body) in calls {
        let uri = format!("{path}?apiKey={}", service.key);
        let request = json_request(&uri).body(axum::body::Body::from(body.to_string())).unwrap();
        let router = service.router.clone();
        running.spawn(async move {
            let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice(&body).unwrap())
        });
    }
    running.join_all().await
}

/// An address in as many spellings of upper and lower case as are asked for.
fn spellings(address: &str) -> impl Iterator<Item = String> {
    (0_u32..).map(move |bits| {
        let spell = |(i, c): (usize, char)| {
            if bits >> (i % 32) & 1 == 1 { c.to_ascii_uppercase() } else { c }
        };
        address.chars().enumerate().map(spell).collect()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_with_one_new_address_create_one_guest() {
    let service = Service::start().await;
    let spellings =
        (0..200).map(|i| if i % 2 == 0 { "New.Guest@Example.com" } else { "new.guest@example.COM" });
    post_all(&service, spellings.map(|email| json!({ "managerCuRefNo": MANAGER, "customerEmail": email })))
        .await;
    assert_eq!((service.count("customer").await, service.count("customer_match").await), (3, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_new_address_under_many_managers_is_one_guest() {
    let service = Service::start().await;
    for i in 0..20 {
        service.add_customer(&format!("manager{i:09}"), None).await;
    }
    let bodies = (0..200).map(
        |i| json!({ "managerCuRefNo": format!("manager{:09}", i % 20), "customerEmail": "shared@example.com" }),
    );
    post_all(&service, bodies).await;
    assert_eq!((service.count("customer").await, service.count("customer_match").await), (23, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hundred_calls_on_one_pair_in_both_directions_leave_one_relation() {
    let service = Service::start().await;
    let bodies = (0..400).map(|i| {
        let (manager, customer) = if i % 2 == 0 { (MANAGER, CUSTOMER) } else { (CUSTOMER, MANAGER) };
        // Every fourth has a notice; those without must not lose it.
        if i % 4 == 0 {
            json!({ "managerCuRefNo": manager, "customerCuRefNo": customer, "notice": "kept" })
        } else {
            json!({ "managerCuRefNo": manager, "customerCuRefNo": customer })
        }
    });
    post_all(&service, bodies).await;
    assert_eq!(service.relations().await, ["1cGIHvFoQDGLAbcA<>5CmsaVNgAQqRqoen kept"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_mix_on_twenty_customers_ends_consistent() {
    let service = Service::start().await;
    let customers: Vec<_> =
        (0..20).map(|i| (format!("customer{i:08}"), format!("c{i}@example.com"))).collect();
    // Half of them are known; the others come into being as guests.
    for (cu_ref_no, email) in &customers[..10] {
        service.add_customer(cu_ref_no, Some(email)).await;
    }
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let bodies: Vec<_> = std::iter::repeat_with(|| {
        let manager = random.random_range(0..10);
        let other = (manager + random.random_range(1..20)) % 20;
        let mut body = json!({ "managerCuRefNo": customers[manager].0 });
        if other < 10 && random.random() {
            body["customerCuRefNo"] = json!(customers[other].0);
        } else {
            body["customerEmail"] = json!(customers[other].1.to_uppercase());
        }
        if random.random() {
            body["notice"] = json!(format!("notice {}", random.random::<u8>()));
        }
        body
    })
    // A node of a cluster has a queue of half the length.
    .take(match service.database.layout() {
        Layout::Single => 600,
        Layout::Distributed => 400,
    })
    .collect();
    post_all(&service, bodies).await;
    assert!(service.count("customer").await <= 22, "no address has two customers");
    assert!(service.count("customer_match").await <= 20 * 19 / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_registrations_in_a_hundred_spellings_create_one_customer() {
    let service = Service::start().await;
    let bodies =
        spellings("newcustomer@example.com").take(100).map(|email| (CREATE, json!({ "email": email })));
    let answers = post_all_to(&service, bodies).await;
    assert!(answers.iter().all(|(status, body)| *status == 200 && body["success"] == true), "{answers:?}");
    assert_eq!(answers.iter().filter(|(_, body)| body["created"] == true).count(), 1);
    let (_, first) = &answers[0];
    assert!(answers.iter().all(|(_, body)| body["cuRefNo"] == first["cuRefNo"]));
    assert_eq!((answers.len(), service.count("customer").await), (100, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_first_with_a_new_address_makes_the_one_customer() {
    let service = Service::start().await;
    let calls = spellings("newcustomer@example.com").take(150).enumerate().map(|(i, email)| match i % 3 {
        0 => (CREATE, json!({ "email": email, "firstName": "Eva" })),
        1 => (MAGIC_AUTH, json!({ "email": email, "lastName": "Nová" })),
        _ => (MATCH, json!({ "managerCuRefNo": MANAGER, "customerEmail": email })),
    });
    let answers = post_all_to(&service, calls).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    let counts = [
        service.count("customer").await,
        service.count("customer_match").await,
        service.count("customer_identity").await,
    ];
    assert_eq!(counts, [3, 1, 50]);
    let names: (String, String) =
        sqlx::query_as("select first_name, last_name from customer where email like 'newcustomer@%'")
            .fetch_one(&service.pool)
            .await
            .unwrap();
    assert_eq!(names, ("Eva".into(), "Nová".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn matching_and_unmatching_at_once_only_ever_succeed() {
    let service = Service::start().await;
    let customers: Vec<_> = (0..4).map(|i| format!("customer{i:08}")).collect();
    for cu_ref_no in &customers {
        service.add_customer(cu_ref_no, None).await;
    }
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let pair = |random: &mut StdRng| {
        let manager = random.random_range(0..4);
        let customer = (manager + random.random_range(1..4)) % 4;
        json!({ "managerCuRefNo": customers[manager], "customerCuRefNo": customers[customer] })
    };
    // All six pairs are there before, so that none is "never matched".
    for (i, manager) in customers.iter().enumerate() {
        for customer in &customers[..i] {
            service
                .post_match(json!({ "managerCuRefNo": manager, "customerCuRefNo": customer }))
                .await
                .assert_success();
        }
    }
    let calls: Vec<_> =
        (0..400).map(|_| (if random.random() { MATCH } else { UNMATCH }, pair(&mut random))).collect();
    for (status, body) in post_all_to(&service, calls).await {
        assert_eq!((status, body), (200, json!({ "success": true })));
    }
    assert_eq!(service.count("customer_match").await, 6);
    // What is left behind is sound: the last word on each pair counts.
    let calls: Vec<_> = (0..40).map(|_| (UNMATCH, pair(&mut random))).collect();
    post_all_to(&service, calls.clone()).await;
    for (_, body) in calls {
        let pair: Vec<_> =
            ["managerCuRefNo", "customerCuRefNo"].map(|name| body[name].as_str().unwrap()).into();
        let relations = service.relations().await;
        let relation = relations.iter().find(|text| pair.iter().all(|side| text.contains(side))).unwrap();
        assert!(relation.ends_with("(inactive)"), "{relation}");
    }
}
