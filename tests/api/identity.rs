//! Logging in and out (contract §2).

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{CUSTOMER, DETAIL, LIST, LOGOUT, MAGIC_AUTH, Service};

const NOT_LOGGED_IN: &str = "INTERNAL_USER_MUST_BE_AUTHORIZED";

#[tokio::test]
async fn magic_auth_gives_an_identity_of_the_customer_with_the_address() {
    let service = Service::start().await;
    let mut answer = service.post_to(MAGIC_AUTH, json!({ "email": "Jan@Barasek.com" })).await;
    let identity = answer.body["identityId"].take();
    let identity = identity.as_str().unwrap();
    assert_eq!((answer.status, answer.body), (200, json!({ "success": true, "identityId": null })));
    assert!(
        identity.len() == 32 && identity.bytes().all(|octet| octet.is_ascii_alphanumeric()),
        "{identity}"
    );
    let detail = service.get_from(DETAIL, &[("identityId", identity)]).await;
    assert_eq!(detail.body["cuRefNo"], CUSTOMER);
    assert_ne!(service.log_in("jan@barasek.com").await, identity, "each log-in is an identity of its own");
    assert_eq!(service.count("customer").await, 2);
}

#[tokio::test]
async fn magic_auth_creates_a_customer_and_fills_in_its_names() {
    let service = Service::start().await;
    let identity = service.log_in("new@example.com").await;
    let names = async |first: &str, last: &str| {
        let body = json!({ "email": "new@example.com", "firstName": first, "lastName": last });
        assert_eq!(service.post_to(MAGIC_AUTH, body).await.status, 200);
        let detail = service.get_from(DETAIL, &[("identityId", &identity)]).await.body;
        [detail["firstName"].clone(), detail["lastName"].clone()]
    };
    assert_eq!(names("", "Nová").await, [Value::Null, json!("Nová")]);
    assert_eq!(names("Eva", "Stará").await, [json!("Eva"), json!("Nová")]);
}

#[tokio::test]
async fn only_a_hash_is_stored_for_three_months() {
    let service = Service::start().await;
    let identity = service.log_in("jan@barasek.com").await;
    let (row, valid): (String, bool) = sqlx::query_as(
        "select i::text, expires_at = created_at + interval '3 months' and created_at <= now() from customer_identity i",
    )
    .fetch_one(&service.pool)
    .await
    .unwrap();
    assert!(!row.contains(&identity) && valid, "{row}");
}

#[tokio::test]
async fn logout_is_immediate_and_for_ever() {
    let service = Service::start().await;
    let (identity, other) =
        (service.log_in("jan@barasek.com").await, service.log_in("jan@barasek.com").await);
    let detail = async |identity: &str| service.get_from(DETAIL, &[("identityId", identity)]).await;
    assert_eq!(detail(&identity).await.status, 200);
    service.post_to(LOGOUT, json!({ "identityId": identity })).await.assert_success();
    detail(&identity).await.assert_error(401, NOT_LOGGED_IN);
    service.get_from(LIST, &[("identityId", &identity)]).await.assert_error(401, NOT_LOGGED_IN);
    service.post_to(LOGOUT, json!({ "identityId": identity })).await.assert_error(401, NOT_LOGGED_IN);
    assert_eq!(detail(&other).await.status, 200, "the customer's other sessions go on");
}

#[rstest]
#[case::expired("update customer_identity set expires_at = now()")]
#[case::revoked("update customer_identity set revoked_at = now()")]
#[tokio::test]
async fn an_identity_ends(#[case] how: &str) {
    let service = Service::start().await;
    let identity = service.log_in("jan@barasek.com").await;
    service.execute(how).await;
    service.get_from(DETAIL, &[("identityId", &identity)]).await.assert_error(401, NOT_LOGGED_IN);
    service.get_from(LIST, &[("identityId", &identity)]).await.assert_error(401, NOT_LOGGED_IN);
    service.post_to(LOGOUT, json!({ "identityId": identity })).await.assert_error(401, NOT_LOGGED_IN);
}

#[tokio::test]
async fn a_deleted_customer_is_not_logged_in() {
    let service = Service::start().await;
    let identity = service.log_in("jan@barasek.com").await;
    service.execute("update customer set deleted_at = now() where email is not null").await;
    service.get_from(DETAIL, &[("identityId", &identity)]).await.assert_error(401, NOT_LOGGED_IN);
    service.get_from(LIST, &[("identityId", &identity)]).await.assert_error(401, NOT_LOGGED_IN);
    let logout = service.post_to(LOGOUT, json!({ "identityId": identity })).await;
    logout.assert_error(401, NOT_LOGGED_IN);
}

#[rstest]
#[case::unknown("0123456789abcdefghijABCDEFGHIJKL")]
#[case::too_short("abc")]
#[case::blank(" x")]
#[case::nul("0123456789abcdefghijABCDEFGHIJ\0L")]
#[case::hostile("' or 1=1 --")]
#[tokio::test]
async fn what_is_no_identity_is_401(#[case] identity: &str) {
    let service = Service::start().await;
    for path in [DETAIL, LIST] {
        service.get_from(path, &[("identityId", identity)]).await.assert_error(401, NOT_LOGGED_IN);
    }
    service.post_to(LOGOUT, json!({ "identityId": identity })).await.assert_error(401, NOT_LOGGED_IN);
}

#[rstest]
#[case::no_address(MAGIC_AUTH, json!({}), "/email")]
#[case::no_address_at_all(MAGIC_AUTH, json!({ "email": "nobody" }), "/email")]
#[case::name_with_nul(MAGIC_AUTH, json!({ "email": "a@b.co", "lastName": "\0" }), "/lastName")]
#[case::no_identity(LOGOUT, json!({}), "/identityId")]
#[case::identity_null(LOGOUT, json!({ "identityId": null }), "/identityId")]
#[case::identity_a_number(LOGOUT, json!({ "identityId": 5 }), "/identityId")]
#[tokio::test]
async fn breaks_a_rule(#[case] path: &str, #[case] body: Value, #[case] field: &str) {
    let service = Service::start().await;
    service.post_to(path, body).await.assert_invalid(field);
    assert_eq!((service.count("customer").await, service.count("customer_identity").await), (2, 0));
}
