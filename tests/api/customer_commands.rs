//! `customer-match customer update`, `list` and `show`.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::binary::{on, run, run_both, run_json, run_refused};
use crate::support::{CUSTOMER, DETAIL, MANAGER, Service};

/// A command about the customers of the organisation of the service.
fn customer(service: &Service, arguments: &[&str]) -> std::process::Command {
    on(&service.database, &[&["customer"], arguments, &["--organisation", "1"]].concat())
}

fn json_of(service: &Service, arguments: &[&str]) -> Value {
    run_json(customer(service, &[arguments, &["--format", "json"]].concat()))
}

#[tokio::test]
async fn an_update_is_that_of_the_endpoint() {
    let service = Service::start().await;
    let update = [
        "update",
        "Jan@Barasek.com",
        "--first-name",
        " Jan ",
        "--last-name",
        "Barášek",
        "--company-name",
        "Fit",
        "--phone",
        "777",
        "--company-registration-number",
        "12345678",
        "--tax-identification-number",
        "CZ1",
        "--customer-real-ip",
        "192.0.2.7",
    ];
    assert_eq!(run(customer(&service, &update)), format!("Customer {CUSTOMER} is updated.\n"));
    let change = [
        "update",
        CUSTOMER,
        "--email",
        "Petr@Barasek.com",
        "--phone",
        "778",
        "--clear",
        "last-name",
        "--clear",
        "customer-real-ip",
    ];
    let updated = json_of(&service, &change);
    let mut detail = service.get_from(DETAIL, &[("cuRefNo", CUSTOMER)]).await.body;
    detail.as_object_mut().unwrap().remove("loggedIn");
    assert_eq!(updated, detail);
    let fields = [
        "email",
        "firstName",
        "lastName",
        "companyName",
        "phone",
        "companyRegistrationNumber",
        "taxIdentificationNumber",
    ];
    let expected = json!(["petr@barasek.com", "Jan", null, "Fit", "778", "12345678", "CZ1"]);
    assert_eq!(json!(fields.map(|field| &updated[field])), expected);
    assert_eq!(json_of(&service, &["show", CUSTOMER])["customerRealIp"], Value::Null);
}

#[rstest]
#[case::nobody(&["update", "nobodyHasThisOne", "--phone", "1"], "error: organisation 1 has no customer nobodyHasThisOne\n")]
#[case::nobodys_address(
    &["update", "eva@example.com", "--phone", "1"],
    "error: organisation 1 has no customer with the e-mail address eva@example.com\n"
)]
#[case::anothers_address(
    &["update", MANAGER, "--email", "jan@barasek.com"],
    "error: customer 5CmsaVNgAQqRqoen has the e-mail address\n"
)]
#[case::two_wishes(
    &["update", CUSTOMER, "--phone", "1", "--clear", "phone"],
    "error: a field has a new value and is to be cleared: say which\n"
)]
#[case::no_change(&["update", CUSTOMER], "error: the following required arguments were not provided:")]
#[case::no_customer(&["show", "x"], "error: invalid value 'x' for '<CUREFNO|EMAIL>': must be exactly 16 letters or digits")]
#[case::shown_nobody(&["show", "nobodyHasThisOne"], "error: organisation 1 has no customer nobodyHasThisOne\n")]
#[tokio::test]
async fn what_cannot_be_done_is_told(#[case] arguments: &[&str], #[case] start: &str) {
    let service = Service::start().await;
    let refused = run_refused(customer(&service, arguments));
    assert!(refused.starts_with(start), "{refused}");
}

#[tokio::test]
async fn an_organisation_that_is_not_there_is_told() {
    let service = Service::start().await;
    for command in [&["list"][..], &["show", CUSTOMER], &["update", CUSTOMER, "--phone", "1"]] {
        let refused =
            run_refused(on(&service.database, &[&["customer"], command, &["--organisation", "9"]].concat()));
        assert!(refused.starts_with("error: there is no organisation 9"), "{refused}");
    }
}

#[tokio::test]
async fn a_list_has_all_or_says_where_it_goes_on() {
    let service = Service::start().await;
    let all = run_both(customer(&service, &["list"]));
    assert!(all.0.contains(MANAGER) && all.0.contains("jan@barasek.com") && all.1.is_empty(), "{all:?}");
    let sql = "insert into customer (organisation_id, cu_ref_no, last_name)
               select 1, 'z' || lpad(i::text, 15, '0'), 'Nováková' from generate_series(1, 700) i";
    service.execute(sql).await;
    let references = |list: &Value| -> Vec<String> {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["cuRefNo"].as_str().unwrap().into())
            .collect()
    };
    let found = json_of(&service, &["list", "--query", "novakova", "--limit", "650"]);
    assert_eq!((references(&found).len(), &found["nextAfter"]), (650, &json!("z000000000000650")));
    let rest = ["list", "--query", "novakova", "--after", "z000000000000650"];
    let rest = json_of(&service, &rest);
    assert_eq!((references(&rest).len(), &rest["nextAfter"]), (50, &Value::Null));
    let (_, more) = run_both(customer(&service, &["list", "--limit", "1", "--query", " "]));
    assert_eq!(more, format!("There are more: --after {MANAGER}\n"));
}

#[tokio::test]
async fn show_has_all_that_is_stored() {
    let service = Service::start().await;
    for legacy in ["legacyCustomer01", "legacyCustomer02"] {
        service.add_customer(legacy, Some(&format!("{legacy}@example.com"))).await;
        service
            .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": legacy }))
            .await
            .assert_success();
        run(customer(&service, &["merge", legacy, CUSTOMER, "--yes"]));
    }
    service
        .execute("update customer set real_ip = '192.0.2.7', created_at = '2025-01-01', updated_at = '2025-01-02' where deleted_at is null")
        .await;
    let shown = json!({
        "cuRefNo": CUSTOMER, "email": "jan@barasek.com", "firstName": null, "lastName": null, "companyName": null, "phone": null,
        "companyRegistrationNumber": null, "taxIdentificationNumber": null, "createdAt": "2025-01-01T00:00:00.000Z",
        "updatedAt": "2025-01-02T00:00:00.000Z", "customerRealIp": "192.0.2.7", "activeRelations": 1,
        "mergedFrom": ["legacyCustomer01", "legacyCustomer02"], "mergedInto": null, "deletedAt": null, "deletionReason": null,
        "erasedAt": null,
    });
    assert_eq!(json_of(&service, &["show", "jan@barasek.com"]), shown);
    let legacy = json_of(&service, &["show", "legacyCustomer01"]);
    assert_eq!((&legacy["mergedInto"], &legacy["activeRelations"]), (&json!(CUSTOMER), &json!(0)));
    assert_eq!(legacy["deletionReason"], format!("merged into {CUSTOMER}"));
    let table = run(customer(&service, &["show", CUSTOMER]));
    assert!(table.contains("192.0.2.7") && !table.contains("deletion"), "{table}");
    service.delete_customer(CUSTOMER).await;
    let gone = run_refused(customer(&service, &["show", "jan@barasek.com"]));
    assert_eq!(gone, "error: organisation 1 has no customer with the e-mail address jan@barasek.com\n");
    assert_eq!(json_of(&service, &["show", CUSTOMER])["deletionReason"], "test");
}
