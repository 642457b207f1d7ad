//! Changing the profile of a customer (contract §2).

use axum::body::Body;
use futures_util::future::join;
use http_body_util::BodyExt;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::support::{
    Answer, CREATE, CUSTOMER, CUSTOMER_LIST, LIST, MANAGER, Service, UPDATE, json_request, uri,
};

const OTHER: &str = "otherCustomer001";
const TAKEN: &str = "PUBLIC_CUSTOMER_EMAIL_TAKEN";

/// The documented customers, one of them with a whole profile.
async fn with_a_profile() -> Service {
    let service = Service::start().await;
    let body = json!({
        "email": "jan@barasek.com", "firstName": "Jan", "lastName": "Barášek", "companyName": "Fit s.r.o.", "phone": "777",
        "companyRegistrationNumber": "12345678", "taxIdentificationNumber": "CZ12345678", "customerRealIp": "192.0.2.7",
    });
    assert_eq!(service.post_to(CREATE, body).await.status, 200);
    service.execute("update customer set created_at = '2025-01-01', updated_at = '2025-01-10'").await;
    service
}

async fn update(service: &Service, body: Value) -> Value {
    let answer = service.post_to(UPDATE, body).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    answer.body
}

/// Every customer with all columns that an update may touch.
async fn rows(service: &Service) -> Vec<String> {
    sqlx::query_scalar("select customer::text from customer order by organisation_id, cu_ref_no")
        .fetch_all(&service.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_present_replaces_null_clears_and_absent_keeps() {
    let service = with_a_profile().await;
    let before = rows(&service).await;
    let body = json!({
        "cuRefNo": CUSTOMER, "firstName": " Petr ", "lastName": null, "companyName": " ", "phone": "778", "futureField": [1],
        "customerRealIp": "[2001:db8::1]:443",
    });
    let mut answer = service.post_to(UPDATE, body).await;
    assert!(answer.body["updatedAt"].take().as_str().unwrap() > "2026");
    insta::assert_json_snapshot!(answer.snapshot(), @r#"
    {
      "body": {
        "companyName": null,
        "companyRegistrationNumber": "12345678",
        "createdAt": "2025-01-01T00:00:00.000Z",
        "cuRefNo": "5CmsaVNgAQqRqoen",
        "email": "jan@barasek.com",
        "firstName": "Petr",
        "lastName": null,
        "phone": "778",
        "success": true,
        "taxIdentificationNumber": "CZ12345678",
        "updatedAt": null
      },
      "status": 200
    }
    "#);
    let stored: Vec<Option<String>> =
        sqlx::query_scalar("select host(real_ip) from customer order by cu_ref_no")
            .fetch_all(&service.pool)
            .await
            .unwrap();
    assert_eq!(stored, [None, Some("2001:db8::1".into())]);
    assert_eq!(rows(&service).await[0], before[0], "no other customer is touched");

    let cleared = update(
        &service,
        json!({
            "email": "JAN@barasek.com", "firstName": null, "phone": "", "companyRegistrationNumber": null,
            "taxIdentificationNumber": null, "customerRealIp": null,
        }),
    )
    .await;
    for field in ["firstName", "phone", "companyRegistrationNumber", "taxIdentificationNumber"] {
        assert_eq!(cleared[field], Value::Null, "{field}");
    }
    assert_eq!(cleared["email"], "jan@barasek.com");
    let kept = "select count(*) from customer where real_ip is not null";
    assert_eq!(sqlx::query_scalar::<_, i64>(kept).fetch_one(&service.pool).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_stored_already_changes_nothing() {
    let service = with_a_profile().await;
    let before = rows(&service).await;
    for body in [
        json!({ "cuRefNo": CUSTOMER }),
        json!({ "cuRefNo": CUSTOMER, "firstName": "Jan ", "phone": "777", "newEmail": "Jan@Barasek.com" }),
        json!({ "cuRefNo": MANAGER, "firstName": null, "phone": "" }),
        json!({ "email": "jan@barasek.com", "customerRealIp": "192.0.2.7:80" }),
    ] {
        assert_eq!(update(&service, body).await["updatedAt"], "2025-01-10T00:00:00.000Z");
    }
    assert_eq!(rows(&service).await, before);
}

#[tokio::test]
async fn the_reference_decides_whom_it_names() {
    let service = with_a_profile().await;
    let both = json!({ "cuRefNo": MANAGER, "email": "jan@barasek.com", "phone": "1" });
    assert_eq!(update(&service, both).await["cuRefNo"], MANAGER);
    let unknown = json!({ "cuRefNo": "nobodyHasThisOne", "email": "jan@barasek.com", "phone": "1" });
    let answer = service.post_to(UPDATE, unknown).await;
    answer.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    assert_eq!(answer.body["error"]["description"], "Customer nobodyHasThisOne");
}

#[tokio::test]
async fn a_customer_that_is_not_there_is_not_found() {
    let service = with_a_profile().await;
    let (other, _) = service.add_organisation("Other").await;
    service.add_customer_of(other, OTHER, Some("other@example.com")).await;
    service.add_customer("deletedCustomer1", Some("deleted@example.com")).await;
    service.delete_customer("deletedCustomer1").await;
    let before = rows(&service).await;
    for (name, value) in [
        ("cuRefNo", OTHER),
        ("cuRefNo", "deletedCustomer1"),
        ("email", "other@example.com"),
        ("email", "deleted@example.com"),
    ] {
        let answer = service.post_to(UPDATE, json!({ name: value, "phone": "1" })).await;
        answer.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
        let expected = if name == "email" { "Customer with the e-mail address " } else { "Customer " };
        assert_eq!(answer.body["error"]["description"], format!("{expected}{value}"));
    }
    assert_eq!(rows(&service).await, before);
}

#[tokio::test]
async fn an_address_is_changed_in_its_normal_form_and_the_old_one_is_free() {
    let service = with_a_profile().await;
    let body = json!({ "email": "jan@barasek.com", "newEmail": " Jan@BÜCHER.de " });
    let changed = update(&service, body).await;
    assert_eq!((&changed["cuRefNo"], &changed["email"]), (&json!(CUSTOMER), &json!("jan@xn--bcher-kva.de")));
    let other = service.post_to(CREATE, json!({ "email": "jan@barasek.com" })).await;
    assert_eq!(other.body["created"], true);
    // A customer that had none.
    let first = update(&service, json!({ "cuRefNo": MANAGER, "newEmail": "eva@example.com" })).await;
    assert_eq!(first["email"], "eva@example.com");
    assert_eq!(service.log_in("eva@example.com").await.len(), 32);
    // That of a deleted customer is nobody's.
    service.delete_customer(MANAGER).await;
    let freed = update(&service, json!({ "cuRefNo": CUSTOMER, "newEmail": "eva@example.com" })).await;
    assert_eq!(freed["email"], "eva@example.com");
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_conflict_and_nothing_changes() {
    let service = with_a_profile().await;
    let before = rows(&service).await;
    let body = json!({ "cuRefNo": MANAGER, "newEmail": "JAN@barasek.com", "phone": "1" });
    let taken = service.post_to(UPDATE, body.clone()).await;
    insta::assert_json_snapshot!(taken.snapshot(), @r#"
    {
      "body": {
        "error": {
          "code": "PUBLIC_CUSTOMER_EMAIL_TAKEN",
          "cuRefNo": "5CmsaVNgAQqRqoen",
          "description": "It is customer 5CmsaVNgAQqRqoen.",
          "message": "Another customer has this e-mail address."
        }
      },
      "status": 409
    }
    "#);
    let may_write = service.add_key(service.organisation, &["customer.write"]).await;
    let taken = service.post(&uri(UPDATE, &may_write, &[]), body).await;
    taken.assert_error(409, TAKEN);
    assert_eq!((&taken.body["error"]["description"], taken.body["error"].get("cuRefNo")), (&json!(""), None));
    assert_eq!(rows(&service).await, before);
    // In another organisation the same address is nobody's.
    let (other, key) = service.add_organisation("Other").await;
    service.add_customer_of(other, OTHER, None).await;
    let own = service
        .post(&uri(UPDATE, &key, &[]), json!({ "cuRefNo": OTHER, "newEmail": "jan@barasek.com" }))
        .await;
    assert_eq!((own.status, &own.body["email"]), (200, &json!("jan@barasek.com")));
}

#[tokio::test]
async fn a_key_that_may_not_read_sees_no_profile() {
    let service = with_a_profile().await;
    let body = json!({ "email": "jan@barasek.com", "phone": "778" });
    let key = service.add_key(service.organisation, &["customer.write"]).await;
    let answer = service.post(&uri(UPDATE, &key, &[]), body.clone()).await;
    assert_eq!(answer.body, json!({ "success": true, "cuRefNo": CUSTOMER }));
    let key = service.add_key(service.organisation, &["customer.write", "customer.read"]).await;
    assert_eq!(service.post(&uri(UPDATE, &key, &[]), body).await.body["lastName"], "Barášek");
}

#[tokio::test]
async fn lists_and_searches_have_the_new_values_at_once() {
    let service = with_a_profile().await;
    let relation = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    service.post_match(relation).await.assert_success();
    let change = json!({ "cuRefNo": CUSTOMER, "lastName": "Dvořák", "newEmail": "dvorak@example.com" });
    update(&service, change).await;
    for (term, found) in [("dvorak jan", 1), ("dvorak@example", 1), ("barasek", 0)] {
        let relations = service.get_from(LIST, &[("cuRefNo", MANAGER), ("query", term)]).await;
        assert_eq!(relations.body["itemCount"], found, "{term}");
        let customers = service.get_from(CUSTOMER_LIST, &[("query", term)]).await;
        assert_eq!(customers.body["items"].as_array().unwrap().len(), found, "{term}");
    }
}

#[rstest]
#[case::nobody(json!({ "phone": "1" }), "/cuRefNo")]
#[case::nobody_but_null(json!({ "cuRefNo": null, "email": null, "phone": "1" }), "/cuRefNo")]
#[case::no_reference(json!({ "cuRefNo": "x", "email": "jan@barasek.com" }), "/cuRefNo")]
#[case::no_address(json!({ "cuRefNo": CUSTOMER, "email": "jan" }), "/email")]
#[case::address_cleared(json!({ "cuRefNo": CUSTOMER, "newEmail": null }), "/newEmail")]
#[case::address_blank(json!({ "cuRefNo": CUSTOMER, "newEmail": "" }), "/newEmail")]
#[case::address_invalid(json!({ "cuRefNo": CUSTOMER, "newEmail": "jan@localhost" }), "/newEmail")]
#[case::name_with_nul(json!({ "cuRefNo": CUSTOMER, "firstName": "a\0b" }), "/firstName")]
#[case::name_of_two_lines(json!({ "cuRefNo": CUSTOMER, "lastName": "a\nb" }), "/lastName")]
#[case::name_too_long(json!({ "cuRefNo": CUSTOMER, "companyName": "x".repeat(201) }), "/companyName")]
#[case::phone_a_number(json!({ "cuRefNo": CUSTOMER, "phone": 777 }), "/phone")]
#[case::number_a_list(json!({ "cuRefNo": CUSTOMER, "companyRegistrationNumber": ["1"] }), "/companyRegistrationNumber")]
#[case::tax_too_long(json!({ "cuRefNo": CUSTOMER, "taxIdentificationNumber": "9".repeat(201) }), "/taxIdentificationNumber")]
#[case::ip_a_network(json!({ "cuRefNo": CUSTOMER, "customerRealIp": "10.0.0.0/8" }), "/customerRealIp")]
#[tokio::test]
async fn breaks_a_rule(#[case] body: Value, #[case] field: &str) {
    let service = with_a_profile().await;
    let before = rows(&service).await;
    service.post_to(UPDATE, body).await.assert_invalid(field);
    assert_eq!(rows(&service).await, before);
}

/// Of all that ask for one address at the same time, one gets it, and the others are told which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_gets_an_address() {
    let service = Service::start().await;
    let customers: Vec<_> = (0..40).map(|i| format!("customer{i:08}")).collect();
    for customer in &customers {
        service.add_customer(customer, None).await;
    }
    let mut calls = JoinSet::new();
    for customer in customers {
        let body = json!({ "cuRefNo": customer, "newEmail": "wanted@example.com" });
        let request =
            json_request(&uri(UPDATE, &service.key, &[])).body(Body::from(body.to_string())).unwrap();
        let router = service.router.clone();
        calls.spawn(async move {
            let response = router.oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice::<Value>(&body).unwrap())
        });
    }
    let answers = calls.join_all().await;
    let owner: String =
        sqlx::query_scalar("select cu_ref_no from customer where email = 'wanted@example.com'")
            .fetch_one(&service.pool)
            .await
            .unwrap();
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == 200);
    assert_eq!((won.len(), &won[0].1["cuRefNo"]), (1, &json!(owner)));
    for (status, body) in lost {
        assert_eq!(
            (status, &body["error"]["code"], &body["error"]["cuRefNo"]),
            (409, &json!(TAKEN), &json!(owner))
        );
    }
}

/// Another transaction is about to take the address.
#[rstest]
#[case::takes_it("commit", Err("uncommitted00001"))]
#[case::gives_it_up("rollback", Ok("wanted@example.com"))]
#[tokio::test]
async fn waits_for_whoever_takes_the_address(#[case] end: &str, #[case] expected: Result<&str, &str>) {
    let service = with_a_profile().await;
    let mut other = service.database.connect().await;
    let insert = "begin; insert into customer (organisation_id, cu_ref_no, email)
                  values (1, 'uncommitted00001', 'wanted@example.com')";
    sqlx::raw_sql(insert).execute(&mut other).await.unwrap();
    let wanted = json!({ "cuRefNo": CUSTOMER, "newEmail": "wanted@example.com" });
    let (answer, ()): (Answer, ()) = join(service.post_to(UPDATE, wanted), async {
        // No other customer is kept waiting.
        for phone in 0..20 {
            update(&service, json!({ "cuRefNo": MANAGER, "phone": phone.to_string() })).await;
        }
        sqlx::raw_sql(end).execute(&mut other).await.unwrap();
    })
    .await;
    let got = match answer.status {
        200 => Ok(answer.body["email"].as_str().unwrap()),
        _ => Err(answer.body["error"]["cuRefNo"].as_str().unwrap()),
    };
    assert_eq!(got, expected);
}
