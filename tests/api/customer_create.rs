//! Registering a customer, or finding the one that has the address (contract §2).

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{CREATE, CUSTOMER, Service, uri};

#[tokio::test]
async fn a_new_address_is_a_new_customer() {
    let service = Service::start().await;
    let body = json!({
        "email": " Eva@BÜCHER.de ", "firstName": "Eva", "lastName": " Nová ", "companyName": "Knihy s.r.o.",
        "phone": "+420 777 123 456", "companyRegistrationNumber": "12345678",
        "taxIdentificationNumber": "CZ12345678", "customerRealIp": "2001:db8::1", "futureField": [1],
    });
    let mut answer = service.post_to(CREATE, body).await;
    let cu_ref_no = answer.body["cuRefNo"].take();
    let created_at = answer.body["createdAt"].take();
    assert_eq!(answer.body["updatedAt"].take(), created_at);
    insta::assert_json_snapshot!(answer.snapshot(), @r#"
    {
      "body": {
        "companyName": "Knihy s.r.o.",
        "companyRegistrationNumber": "12345678",
        "created": true,
        "createdAt": null,
        "cuRefNo": null,
        "email": "eva@xn--bcher-kva.de",
        "firstName": "Eva",
        "lastName": "Nová",
        "phone": "+420 777 123 456",
        "success": true,
        "taxIdentificationNumber": "CZ12345678",
        "updatedAt": null
      },
      "status": 200
    }
    "#);
    let stored: (String, String) =
        sqlx::query_as("select cu_ref_no, host(real_ip) from customer where email like 'eva@%'")
            .fetch_one(&service.pool)
            .await
            .unwrap();
    assert_eq!((json!(stored.0), stored.1.as_str()), (cu_ref_no, "2001:db8::1"));
}

#[rstest]
#[case::with_port("192.0.2.7:54321", "192.0.2.7")]
#[case::in_brackets("[2001:db8::7]", "2001:db8::7")]
#[case::in_brackets_with_port(" [2001:DB8::7]:443 ", "2001:db8::7")]
#[case::mapped("::ffff:192.0.2.7", "192.0.2.7")]
#[tokio::test]
async fn an_ip_is_taken_as_proxies_write_it(#[case] written: &str, #[case] stored: &str) {
    let service = Service::start().await;
    let body = json!({ "email": "eva@example.com", "customerRealIp": written });
    assert_eq!(service.post_to(CREATE, body).await.status, 200);
    let ip: String = sqlx::query_scalar("select host(real_ip) from customer where email = 'eva@example.com'")
        .fetch_one(&service.pool)
        .await
        .unwrap();
    assert_eq!(ip, stored);
}

#[tokio::test]
async fn a_known_address_is_the_customer_that_has_it() {
    let service = Service::start().await;
    service.execute("update customer set created_at = '2025-01-01', updated_at = '2025-01-10'").await;
    let answer = service.post_to(CREATE, json!({ "email": "JAN@barasek.com" })).await;
    insta::assert_json_snapshot!(answer.snapshot(), @r#"
    {
      "body": {
        "companyName": null,
        "companyRegistrationNumber": null,
        "created": false,
        "createdAt": "2025-01-01T00:00:00.000Z",
        "cuRefNo": "5CmsaVNgAQqRqoen",
        "email": "jan@barasek.com",
        "firstName": null,
        "lastName": null,
        "phone": null,
        "success": true,
        "taxIdentificationNumber": null,
        "updatedAt": "2025-01-10T00:00:00.000Z"
      },
      "status": 200
    }
    "#);
    assert_eq!(answer.body["cuRefNo"], CUSTOMER);
    assert_eq!(service.count("customer").await, 2);
}

#[tokio::test]
async fn empty_fields_are_filled_and_none_is_overwritten() {
    let service = Service::start().await;
    let post = async |body: Value| {
        let answer = service.post_to(CREATE, body).await;
        assert_eq!((answer.status, &answer.body["created"]), (200, &json!(false)), "{:#}", answer.body);
        [&answer.body["firstName"], &answer.body["lastName"], &answer.body["phone"]].map(Value::clone)
    };
    let email = "jan@barasek.com";
    assert_eq!(
        post(json!({ "email": email, "firstName": "Jan", "phone": null })).await,
        [json!("Jan"), Value::Null, Value::Null]
    );
    assert_eq!(
        post(json!({ "email": email, "firstName": "Petr", "lastName": "Barášek", "customerRealIp": "10.0.0.1" })).await,
        [json!("Jan"), json!("Barášek"), Value::Null]
    );
    // As web forms send what nobody filled in.
    let blank =
        json!({ "email": email, "firstName": "", "lastName": " ", "phone": "", "customerRealIp": "" });
    assert_eq!(post(blank).await, [json!("Jan"), json!("Barášek"), Value::Null]);
}

/// What was sent and is stored, whatever of it was stored before.
#[rstest]
#[case::nothing_sent(json!({}), None)]
#[case::the_same(json!({ "firstName": " Jan ", "phone": "777", "customerRealIp": "[2001:DB8::7]:443" }), None)]
#[case::new(json!({ "lastName": "Barášek", "companyName": "Fit" }), None)]
#[case::blank(json!({ "firstName": "", "phone": null, "customerRealIp": " " }), None)]
#[case::one(json!({ "firstName": "Jan", "phone": "778", "lastName": "B" }), Some(json!(["phone"])))]
#[case::all(
    json!({
        "firstName": "Petr", "phone": "1", "companyRegistrationNumber": "1", "taxIdentificationNumber": "cz1",
        "customerRealIp": "192.0.2.7",
    }),
    Some(json!([
        "firstName", "phone", "companyRegistrationNumber", "taxIdentificationNumber", "customerRealIp"
    ]))
)]
#[tokio::test]
async fn what_was_not_taken_is_named(#[case] body: Value, #[case] ignored: Option<Value>) {
    let service = Service::start().await;
    let stored = json!({
        "email": "jan@barasek.com", "firstName": "Jan", "phone": "777", "companyRegistrationNumber": "12345678",
        "taxIdentificationNumber": "CZ1", "customerRealIp": "2001:db8::7",
    });
    assert_eq!(service.post_to(CREATE, stored).await.body.get("ignored"), None);
    let mut again = body;
    again["email"] = json!("jan@barasek.com");
    let answer = service.post_to(CREATE, again.clone()).await;
    assert_eq!((answer.status, answer.body.get("ignored")), (200, ignored.as_ref()));
    let may_write = service.add_key(service.organisation, &["customer.write"]).await;
    let answer = service.post(&uri(CREATE, &may_write, &[]), again).await;
    assert_eq!((answer.status, answer.body.get("ignored")), (200, None));
}

#[tokio::test]
async fn the_address_of_a_deleted_customer_is_free() {
    let service = Service::start().await;
    service
        .execute("update customer set deleted_at = now(), first_name = 'Old' where email is not null")
        .await;
    let answer = service.post_to(CREATE, json!({ "email": "jan@barasek.com" })).await;
    assert_eq!((&answer.body["created"], &answer.body["firstName"]), (&json!(true), &Value::Null));
    assert_ne!(answer.body["cuRefNo"], CUSTOMER);
}

#[rstest]
#[case::no_address(json!({}), "/email")]
#[case::address_null(json!({ "email": null }), "/email")]
#[case::address_empty(json!({ "email": "" }), "/email")]
#[case::address_a_number(json!({ "email": 5 }), "/email")]
#[case::no_address_at_all(json!({ "email": "nobody" }), "/email")]
#[case::name_with_nul(json!({ "email": "a@b.co", "firstName": "a\0b" }), "/firstName")]
#[case::name_of_two_lines(json!({ "email": "a@b.co", "lastName": "a\nb" }), "/lastName")]
#[case::name_too_long(json!({ "email": "a@b.co", "companyName": "x".repeat(201) }), "/companyName")]
#[case::name_an_array(json!({ "email": "a@b.co", "firstName": ["a"] }), "/firstName")]
#[case::phone_a_number(json!({ "email": "a@b.co", "phone": 777 }), "/phone")]
#[case::registration_with_control(json!({ "email": "a@b.co", "companyRegistrationNumber": "1\u{7f}2" }), "/companyRegistrationNumber")]
#[case::tax_too_long(json!({ "email": "a@b.co", "taxIdentificationNumber": "9".repeat(201) }), "/taxIdentificationNumber")]
#[case::ip_of_three(json!({ "email": "a@b.co", "customerRealIp": "10.0.1" }), "/customerRealIp")]
#[case::ip_a_network(json!({ "email": "a@b.co", "customerRealIp": "10.0.0.0/8" }), "/customerRealIp")]
#[case::ip_with_zone(json!({ "email": "a@b.co", "customerRealIp": "fe80::1%eth0" }), "/customerRealIp")]
#[case::ip_a_list(json!({ "email": "a@b.co", "customerRealIp": "10.0.0.1, 10.0.0.2" }), "/customerRealIp")]
#[tokio::test]
async fn breaks_a_rule(#[case] body: Value, #[case] field: &str) {
    let service = Service::start().await;
    service.post_to(CREATE, body).await.assert_invalid(field);
    assert_eq!(service.count("customer").await, 2);
}
