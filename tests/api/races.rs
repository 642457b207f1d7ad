//! Calls that meet: all of them succeed, and what they leave behind is what one of them would have left.

use rand::prelude::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{CUSTOMER, MANAGER, MATCH, Service, json_request};

/// Posts all bodies at once.
async fn post_all(service: &Service, bodies: impl IntoIterator<Item = Value>) {
    let mut calls = JoinSet::new();
    let uri = format!("{MATCH}?apiKey={}", service.key);
    for body in bodies {
        let request = json_request(&uri).body(axum::body::Body::from(body.to_string())).unwrap();
        let router = service.router.clone();
        calls.spawn(async move { tower::ServiceExt::oneshot(router, request).await.unwrap().status() });
    }
    for status in calls.join_all().await {
        assert_eq!(status, 200);
    }
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
    .take(600)
    .collect();
    post_all(&service, bodies).await;
    assert!(service.count("customer").await <= 22, "no address has two customers");
    assert!(service.count("customer_match").await <= 20 * 19 / 2);
}
