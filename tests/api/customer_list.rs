//! The list of an organisation's customers (contract §2).

use rstest::rstest;
use serde_json::{Value, json};

use crate::search::with_a_slow_index;
use crate::support::{Answer, CREATE, CUSTOMER, CUSTOMER_LIST, LIST, MANAGER, Service, uri};

async fn list(service: &Service, parameters: &[(&str, &str)]) -> Answer {
    let answer = service.get_from(CUSTOMER_LIST, parameters).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    answer
}

fn references(page: &Answer) -> Vec<String> {
    let items = page.body["items"].as_array().unwrap();
    items.iter().map(|item| item["cuRefNo"].as_str().unwrap().into()).collect()
}

/// Walks all pages; `between` happens after each.
async fn walk(
    service: &Service,
    parameters: &[(&str, &str)],
    mut between: impl AsyncFnMut(),
) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let place = cursor.as_deref().map(|cursor| ("cursor", cursor));
        let page = list(service, &[parameters, place.as_slice()].concat()).await;
        pages.push(references(&page));
        let Some(next) = page.body["nextCursor"].as_str() else { return pages };
        cursor = Some(next.to_owned());
        between().await;
    }
}

/// The references of the living customers for which the condition holds, in the order of the list.
async fn stored(service: &Service, condition: &str) -> Vec<String> {
    let sql = format!(
        "select cu_ref_no from customer where organisation_id = $1 and deleted_at is null and {condition} order by cu_ref_no"
    );
    sqlx::query_scalar(&sql).bind(service.organisation).fetch_all(&service.pool).await.unwrap()
}

#[tokio::test]
async fn shows_whole_profiles_in_the_order_of_the_references() {
    let service = Service::start().await;
    let body = json!({
        "email": "jan@barasek.com", "firstName": "Jan", "lastName": "Barášek", "companyName": "Fit s.r.o.", "phone": "777",
        "companyRegistrationNumber": "12345678", "taxIdentificationNumber": "CZ12345678", "customerRealIp": "192.0.2.7",
    });
    service.post_to(CREATE, body).await;
    service
        .execute(
            "update customer set created_at = '2025-01-01', updated_at = '2025-01-10 16:19:41.675999+00'",
        )
        .await;
    let page = list(&service, &[]).await;
    insta::assert_json_snapshot!(page.body, @r#"
    {
      "items": [
        {
          "companyName": null,
          "companyRegistrationNumber": null,
          "createdAt": "2025-01-01T00:00:00.000Z",
          "cuRefNo": "1cGIHvFoQDGLAbcA",
          "email": null,
          "firstName": null,
          "lastName": null,
          "phone": null,
          "taxIdentificationNumber": null,
          "updatedAt": "2025-01-10T16:19:41.675Z"
        },
        {
          "companyName": "Fit s.r.o.",
          "companyRegistrationNumber": "12345678",
          "createdAt": "2025-01-01T00:00:00.000Z",
          "cuRefNo": "5CmsaVNgAQqRqoen",
          "email": "jan@barasek.com",
          "firstName": "Jan",
          "lastName": "Barášek",
          "phone": "777",
          "taxIdentificationNumber": "CZ12345678",
          "updatedAt": "2025-01-10T16:19:41.675Z"
        }
      ],
      "nextCursor": null
    }
    "#);
}

#[tokio::test]
async fn an_organisation_without_customers_has_an_empty_list() {
    let service = Service::start().await;
    let (_, key) = service.add_organisation("Empty").await;
    let answer = service.get(&uri(CUSTOMER_LIST, &key, &[])).await;
    assert_eq!(answer.body, json!({ "items": [], "nextCursor": null }));
}

#[rstest]
#[case::all(&[])]
#[case::filtered(&[("query", "walked")])]
#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_customers_come_and_are_deleted(#[case] filter: &[(&str, &str)]) {
    let service = Service::start().await;
    service.execute("update customer set company_name = 'Walked'").await;
    let add = async |cu_ref_no: &str| {
        service.add_customer(cu_ref_no, None).await;
        service
            .execute(&format!("update customer set company_name = 'Walked' where cu_ref_no = '{cu_ref_no}'"))
            .await;
    };
    for i in 0..8 {
        add(&format!("customer{i:08}")).await;
    }
    let order = stored(&service, "true").await;
    assert_eq!(references(&list(&service, filter).await), order);

    for limit in ["1", "3", "9", "10"] {
        let mut added = 0;
        let pages = walk(&service, &[filter, &[("limit", limit)]].concat(), async || {
            added += 1;
            // One before every page and one behind all, of which the walk may show the second.
            add(&format!("0added{limit:0>2}{added:08}")).await;
            let behind = format!("zadded{limit:0>2}{added:08}");
            add(&behind).await;
            service.delete_customer(&behind).await;
        })
        .await;
        assert_eq!(pages.concat(), order, "pages of {limit}");
        assert_eq!(pages.len(), 10_usize.div_ceil(limit.parse().unwrap()));
        service.execute("delete from customer where cu_ref_no ~ '^[0z]added'").await;
    }
}

#[tokio::test]
async fn goes_on_behind_a_customer_that_was_deleted_meanwhile() {
    let service = Service::start().await;
    let page = list(&service, &[("limit", "1")]).await;
    assert_eq!(references(&page), [MANAGER]);
    service.delete_customer(MANAGER).await;
    let cursor = page.body["nextCursor"].as_str().unwrap();
    assert_eq!(references(&list(&service, &[("cursor", cursor)]).await), [CUSTOMER]);
    assert_eq!(references(&list(&service, &[]).await), [CUSTOMER]);
}

/// Of a rare term in one call by the index of trigrams, of any other in calls that look at 5,000 customers each.
#[rstest]
#[case::a_rare_name("RAREMAN", "last_name = 'Rareman'", 1)]
#[case::an_address("C500@EXAMPLE", "email = 'c500@example.com'", 1)]
#[case::nobody("Dvořák", "false", 1)]
#[case::two_letters("qx", "company_name = 'At Qx'", 3)]
#[case::two_words_of_two("at qx", "company_name = 'At Qx'", 3)]
#[case::nearly_all("example.com", "email like '%example.com'", 22)]
#[tokio::test]
async fn a_filter_finds_all_in_bounded_calls(
    #[case] term: &str,
    #[case] condition: &str,
    #[case] calls: usize,
) {
    let service = Service::start_configured(&["--filter-timeout", "4s"]).await;
    service.add_a_long_list().await;
    let pages = walk(&service, &[("query", term), ("limit", "500")], async || {}).await;
    assert_eq!(pages.concat(), stored(&service, condition).await);
    assert_eq!(pages.len(), calls);
}

#[tokio::test]
async fn a_list_is_walked_when_the_index_takes_too_long() {
    let service = with_a_slow_index().await;
    let pages = walk(&service, &[("query", "rareman")], async || {}).await;
    assert_eq!(pages.concat(), stored(&service, "last_name = 'Rareman'").await);
    assert_eq!(pages.len(), 3);
}

/// Deleted customers cost as much as others, and a call looks at a bounded number.
#[tokio::test]
async fn a_page_may_be_empty_and_have_a_next_one() {
    let service = Service::start().await;
    let sql = format!(
        "insert into customer (organisation_id, cu_ref_no, deleted_at)
         select {}, lpad(i::text, 16, '0'), now() from generate_series(1, 5000) i",
        service.organisation
    );
    service.execute(&sql).await;
    let pages = walk(&service, &[], async || {}).await;
    assert_eq!(pages, [vec![], vec![MANAGER.to_owned(), CUSTOMER.to_owned()]]);
}

#[tokio::test]
async fn a_page_ends_at_a_megabyte_of_text() {
    let service = Service::start().await;
    let text = "repeat('\u{1f600}', 200)";
    let sql = format!(
        "insert into customer (
             organisation_id, cu_ref_no, first_name, last_name, company_name, phone, company_registration_number,
             tax_identification_number
         )
         select {}, lpad(i::text, 16, '0'), {text}, {text}, {text}, {text}, {text}, {text} from generate_series(1, 500) i",
        service.organisation
    );
    service.execute(&sql).await;
    let pages = walk(&service, &[("limit", "500")], async || {}).await;
    // A customer has 4,800 bytes.
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [209, 209, 84]);
    assert_eq!(pages.concat(), stored(&service, "true").await);
}

/// Of another list, of another organisation, changed.
#[tokio::test]
async fn a_cursor_is_of_one_list_of_one_organisation() {
    let service = Service::start().await;
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }))
        .await
        .assert_success();
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerEmail": "eva@example.com" }))
        .await
        .assert_success();
    let next = |page: Answer| page.body["nextCursor"].as_str().unwrap().to_owned();
    let of_customers = next(list(&service, &[("limit", "1")]).await);
    let of_relations = next(service.get_from(LIST, &[("cuRefNo", MANAGER), ("limit", "1")]).await);
    service.get_from(CUSTOMER_LIST, &[("cursor", &of_relations)]).await.assert_invalid("cursor");
    service.get_from(LIST, &[("cuRefNo", MANAGER), ("cursor", &of_customers)]).await.assert_invalid("cursor");
    let (_, key) = service.add_organisation("Other").await;
    service.get(&uri(CUSTOMER_LIST, &key, &[("cursor", &of_customers)])).await.assert_invalid("cursor");
    for place in 0..of_customers.len() {
        let other = if of_customers.as_bytes()[place] == b'A' { "B" } else { "A" };
        let changed = format!("{}{other}{}", &of_customers[..place], &of_customers[place + 1..]);
        service.get_from(CUSTOMER_LIST, &[("cursor", &changed)]).await.assert_invalid("cursor");
    }
}

#[rstest]
#[case("limit", "0")]
#[case("limit", "501")]
#[case("cursor", "x")]
#[case("query", "a\nb")]
#[tokio::test]
async fn parameters_are_checked(#[case] name: &str, #[case] value: &str) {
    let service = Service::start().await;
    service.get_from(CUSTOMER_LIST, &[(name, value)]).await.assert_invalid(name);
    let ignored = [("limit", ""), ("query", " "), ("cursor", ""), ("future", "1")];
    assert_eq!(list(&service, &ignored).await.body["nextCursor"], Value::Null);
}
