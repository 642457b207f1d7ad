//! Who may see whose detail (contract §2).

use serde_json::json;

use crate::support::{CREATE, CUSTOMER, DETAIL, MANAGER, Service, UNMATCH};

const NOT_PERMITTED: &str = "PUBLIC_CUSTOMER_DETAIL_NOT_PERMITTED";

/// The documented customers, both with an address to log in by; the identity of each.
async fn logged_in() -> (Service, String, String) {
    let service = Service::start().await;
    service.execute("update customer set email = 'eva@example.com' where email is null").await;
    let manager = service.log_in("eva@example.com").await;
    let customer = service.log_in("jan@barasek.com").await;
    (service, manager, customer)
}

#[tokio::test]
async fn everybody_sees_its_own() {
    let (service, _, customer) = logged_in().await;
    let body = json!({ "email": "jan@barasek.com", "firstName": "Jan", "phone": "777", "taxIdentificationNumber": "1" });
    service.post_to(CREATE, body).await;
    service.execute("update customer set created_at = '2025-01-01', updated_at = '2025-01-10'").await;
    let own = service.get_from(DETAIL, &[("identityId", &customer)]).await;
    insta::assert_json_snapshot!(own.snapshot(), @r#"
    {
      "body": {
        "companyName": null,
        "companyRegistrationNumber": null,
        "createdAt": "2025-01-01T00:00:00.000Z",
        "cuRefNo": "5CmsaVNgAQqRqoen",
        "email": "jan@barasek.com",
        "firstName": "Jan",
        "lastName": null,
        "loggedIn": true,
        "phone": "777",
        "taxIdentificationNumber": "1",
        "updatedAt": "2025-01-10T00:00:00.000Z"
      },
      "status": 200
    }
    "#);
    let by_reference = service.get_from(DETAIL, &[("identityId", &customer), ("cuRefNo", CUSTOMER)]).await;
    assert_eq!(by_reference.body, own.body);
}

#[tokio::test]
async fn a_manager_sees_whom_it_manages_as_long_as_it_does() {
    let (service, manager, customer) = logged_in().await;
    let of_customer = [("identityId", manager.as_str()), ("cuRefNo", CUSTOMER)];
    let of_manager = [("identityId", customer.as_str()), ("cuRefNo", MANAGER)];
    service.get_from(DETAIL, &of_customer).await.assert_error(404, NOT_PERMITTED);

    let relation = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    service.post_match(relation.clone()).await.assert_success();
    let detail = service.get_from(DETAIL, &of_customer).await;
    let documented = json!({
        "loggedIn": true, "cuRefNo": CUSTOMER, "email": "jan@barasek.com", "phone": null, "firstName": null, "lastName": null,
        "companyName": null,
    });
    assert_eq!((detail.status, &detail.body), (200, &documented));
    service.get_from(DETAIL, &of_manager).await.assert_error(404, NOT_PERMITTED);

    service.post_to(UNMATCH, relation).await.assert_success();
    service.get_from(DETAIL, &of_customer).await.assert_error(404, NOT_PERMITTED);

    // The other direction, which is the other side of the pair.
    let reverse = json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER });
    service.execute("delete from customer_match").await;
    service.post_match(reverse).await.assert_success();
    assert_eq!(service.get_from(DETAIL, &of_manager).await.body["cuRefNo"], MANAGER);
    service.get_from(DETAIL, &of_customer).await.assert_error(404, NOT_PERMITTED);
}

#[tokio::test]
async fn a_stranger_looks_like_nobody() {
    let (service, manager, _) = logged_in().await;
    let stranger = service.get_from(DETAIL, &[("identityId", &manager), ("cuRefNo", CUSTOMER)]).await;
    insta::assert_json_snapshot!(stranger.snapshot(), @r#"
    {
      "body": {
        "error": {
          "code": "PUBLIC_CUSTOMER_DETAIL_NOT_PERMITTED",
          "description": "Wrong cuRefNo or your profile is not manager of this customer.",
          "message": "You have no permission to load this customer detail."
        }
      },
      "status": 404
    }
    "#);
    let nobody = service.get_from(DETAIL, &[("identityId", &manager), ("cuRefNo", "0000000000000000")]).await;
    assert_eq!(nobody.snapshot(), stranger.snapshot());
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }))
        .await
        .assert_success();
    service.delete_customer(CUSTOMER).await;
    let deleted = service.get_from(DETAIL, &[("identityId", &manager), ("cuRefNo", CUSTOMER)]).await;
    assert_eq!(deleted.snapshot(), stranger.snapshot());
}

/// For a back end, which is no customer.
#[tokio::test]
async fn without_an_identity_any_customer_is_shown() {
    let (service, manager, _) = logged_in().await;
    let by_reference = async |cu_ref_no: &str| service.get_from(DETAIL, &[("cuRefNo", cu_ref_no)]).await;
    let own = service.get_from(DETAIL, &[("identityId", &manager)]).await.body;
    let mut shown = by_reference(MANAGER).await.body;
    assert_eq!(shown["loggedIn"].take(), false);
    shown["loggedIn"] = json!(true);
    assert_eq!(shown, own);
    assert_eq!(by_reference(CUSTOMER).await.body["email"], "jan@barasek.com");
    let unknown = by_reference("0000000000000000").await;
    unknown.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    assert_eq!(unknown.body["error"]["description"], "Customer 0000000000000000");
    service.delete_customer(CUSTOMER).await;
    by_reference(CUSTOMER).await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    by_reference("x").await.assert_invalid("cuRefNo");
}

#[tokio::test]
async fn parameters_are_checked() {
    let (service, manager, _) = logged_in().await;
    service.get_from(DETAIL, &[]).await.assert_error(401, "INTERNAL_USER_MUST_BE_AUTHORIZED");
    let with = async |parameters: &[(&str, &str)]| {
        service.get_from(DETAIL, &[&[("identityId", manager.as_str())], parameters].concat()).await
    };
    with(&[("cuRefNo", "x")]).await.assert_invalid("cuRefNo");
    with(&[("cuRefNo", "1cGIHvFoQDGLAbc\0")]).await.assert_invalid("cuRefNo");
    with(&[("cuRefNo", CUSTOMER), ("cuRefNo", MANAGER)]).await.assert_invalid("cuRefNo");
    with(&[("identityId", &manager)]).await.assert_invalid("identityId");
    assert_eq!(with(&[("cuRefNo", ""), ("future", "1"), ("future", "2")]).await.body["cuRefNo"], MANAGER);
}
