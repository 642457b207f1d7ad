//! The list of matched customers: whose, what, in which order, page by page (contract §2).

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use customer_match::domain::{CuRefNo, Cursor, CursorKey};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Answer, CREATE, CUSTOMER, LIST, MANAGER, Service, UNMATCH};

async fn list(service: &Service, parameters: &[(&str, &str)]) -> Answer {
    let answer = service.get_from(LIST, parameters).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    answer
}

/// The references on a page.
fn references(answer: &Answer) -> Vec<String> {
    let items = answer.body["items"].as_array().unwrap();
    items.iter().map(|item| item["cuRefNo"].as_str().unwrap().to_owned()).collect()
}

/// Adds a customer and matches the manager with it.
async fn add_matched(service: &Service, cu_ref_no: &str) {
    service.add_customer(cu_ref_no, None).await;
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": cu_ref_no }))
        .await
        .assert_success();
}

#[tokio::test]
async fn both_sides_see_each_other_and_the_same_notice() {
    let service = Service::start().await;
    let body = json!({ "email": "jan@barasek.com", "firstName": "Jan", "lastName": "Barášek", "companyName": "Baraja" });
    service.post_to(CREATE, body).await;
    let relation =
        json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": "prefers cardio" });
    service.post_match(relation).await.assert_success();
    // A fixed time, as the snapshot has it.
    service.execute("update customer_match set created_at = '2025-01-01', matched_at = '2025-01-10 16:19:41.675999+00', updated_at = '2025-02-01'").await;

    let of_manager = list(&service, &[("cuRefNo", MANAGER)]).await;
    insta::assert_json_snapshot!(of_manager.snapshot(), @r#"
    {
      "body": {
        "itemCount": 1,
        "itemCountExact": true,
        "items": [
          {
            "companyName": "Baraja",
            "cuRefNo": "5CmsaVNgAQqRqoen",
            "email": "jan@barasek.com",
            "firstName": "Jan",
            "lastName": "Barášek",
            "matchedAt": "2025-01-10T16:19:41.675Z",
            "notice": "prefers cardio",
            "role": "customer",
            "updatedAt": "2025-02-01T00:00:00.000Z"
          }
        ],
        "nextCursor": null
      },
      "status": 200
    }
    "#);
    let identity = service.log_in("jan@barasek.com").await;
    let of_customer = list(&service, &[("identityId", &identity)]).await;
    insta::assert_json_snapshot!(of_customer.snapshot(), @r#"
    {
      "body": {
        "itemCount": 1,
        "itemCountExact": true,
        "items": [
          {
            "companyName": null,
            "cuRefNo": "1cGIHvFoQDGLAbcA",
            "email": null,
            "firstName": null,
            "lastName": null,
            "matchedAt": "2025-01-10T16:19:41.675Z",
            "notice": "prefers cardio",
            "role": "manager",
            "updatedAt": "2025-02-01T00:00:00.000Z"
          }
        ],
        "nextCursor": null
      },
      "status": 200
    }
    "#);
}

#[tokio::test]
async fn the_role_is_what_the_listed_customer_is_to_the_caller() {
    let service = Service::start().await;
    let roles = async || {
        let mut roles = Vec::new();
        for cu_ref_no in [MANAGER, CUSTOMER] {
            roles.push(list(&service, &[("cuRefNo", cu_ref_no)]).await.body["items"][0]["role"].clone());
        }
        roles
    };
    service
        .post_match(json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER }))
        .await
        .assert_success();
    assert_eq!(roles().await, ["manager", "customer"]);
    // A filter reads the same by another way.
    let filtered = list(&service, &[("cuRefNo", MANAGER), ("query", "jan@")]).await;
    assert_eq!(filtered.body["items"][0]["role"], "manager");
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }))
        .await
        .assert_success();
    assert_eq!(roles().await, ["both", "both"]);
}

#[tokio::test]
async fn only_active_relations_with_living_customers_are_listed() {
    let service = Service::start().await;
    let nobody = json!({ "items": [], "itemCount": 0, "itemCountExact": true, "nextCursor": null });
    assert_eq!(list(&service, &[("cuRefNo", MANAGER)]).await.body, nobody);
    let relation = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": "a" });
    service.post_match(relation.clone()).await.assert_success();
    assert_eq!(list(&service, &[("cuRefNo", MANAGER)]).await.body["itemCount"], 1);
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": "" }))
        .await
        .assert_success();
    assert_eq!(list(&service, &[("cuRefNo", MANAGER)]).await.body["items"][0]["notice"], Value::Null);

    service.post_to(UNMATCH, relation.clone()).await.assert_success();
    for filter in [&[][..], &[("query", "jan")]] {
        let parameters = [&[("cuRefNo", MANAGER)], filter].concat();
        assert_eq!(list(&service, &parameters).await.body, nobody);
    }
    service.post_match(relation).await.assert_success();
    service.delete_customer(CUSTOMER).await;
    for filter in [&[][..], &[("query", "jan")]] {
        let parameters = [&[("cuRefNo", MANAGER)], filter].concat();
        assert_eq!(list(&service, &parameters).await.body["items"], json!([]));
    }
    service.get_from(LIST, &[("cuRefNo", CUSTOMER)]).await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
}

/// Walks all pages; `between` happens after each.
pub async fn walk(
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

#[rstest]
#[case::everybody(&[])]
#[case::filtered(&[("query", "customer")])]
#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_relations_are_added(#[case] filter: &[(&str, &str)]) {
    let service = Service::start().await;
    // Half of them below the customer whose list it is and half above, so that both sides of the pair take part.
    let cu_ref_nos: Vec<_> = (0..10).map(|i| format!("customer{i:08}")).collect();
    for cu_ref_no in &cu_ref_nos[..5] {
        service.add_customer(cu_ref_no, None).await;
    }
    service.add_customer("trainerOfThemAll", None).await;
    for cu_ref_no in &cu_ref_nos[5..] {
        service.add_customer(cu_ref_no, None).await;
    }
    service.execute("update customer set company_name = 'Customer' where cu_ref_no like 'customer%'").await;
    let match_with = async |cu_ref_no: &str| {
        let relation = json!({ "managerCuRefNo": "trainerOfThemAll", "customerCuRefNo": cu_ref_no });
        service.post_match(relation).await.assert_success();
    };
    for i in [3, 8, 0, 5, 9, 1, 7, 2, 6, 4] {
        match_with(&cu_ref_nos[i]).await;
    }
    // Some at the same moment, on both sides: the reference decides.
    service
        .execute(
            "update customer_match set created_at = '2025-01-10', matched_at = '2025-01-10' where ascii(right(low_cu_ref_no, 1)) % 3 <> 0",
        )
        .await;
    let parameters = [&[("cuRefNo", "trainerOfThemAll")], filter].concat();
    let whole = list(&service, &parameters).await;
    let (order, count) = (references(&whole), &whole.body["itemCount"]);
    assert_eq!((order.len(), count, &whole.body["nextCursor"]), (10, &json!(10), &Value::Null));

    for limit in ["1", "3", "5", "9", "10"] {
        let mut added = 0;
        let pages = walk(&service, &[&parameters[..], &[("limit", limit)]].concat(), async || {
            added += 1;
            let cu_ref_no = format!("added{limit:0>2}{added:09}");
            service.add_customer(&cu_ref_no, Some(&format!("customer{limit}.{added}@example.com"))).await;
            match_with(&cu_ref_no).await;
        })
        .await;
        assert_eq!(pages.concat(), order, "pages of {limit}");
        assert_eq!(pages.len(), 10_usize.div_ceil(limit.parse().unwrap()));
        let gone = "delete from customer_match m using customer c
                    where m.organisation_id = 1 and c.organisation_id = 1 and c.cu_ref_no like 'added%' and c.cu_ref_no in (m.low_cu_ref_no, m.high_cu_ref_no)";
        service.execute(gone).await;
    }
}

#[tokio::test]
async fn a_list_goes_on_behind_a_customer_that_was_deleted_meanwhile() {
    let service = Service::start().await;
    for i in 0..4 {
        add_matched(&service, &format!("customer{i:08}")).await;
    }
    let page = list(&service, &[("cuRefNo", MANAGER), ("limit", "2")]).await;
    assert_eq!(references(&page), ["customer00000003", "customer00000002"]);
    for sql in [
        "update customer_match set deactivated_at = now(), updated_at = now() where high_cu_ref_no = 'customer00000002'",
        "update customer set deleted_at = now() where cu_ref_no = 'customer00000002'",
    ] {
        service.execute(sql).await;
    }
    let cursor = page.body["nextCursor"].as_str().unwrap();
    let page = list(&service, &[("cuRefNo", MANAGER), ("cursor", cursor)]).await;
    assert_eq!(references(&page), ["customer00000001", "customer00000000"]);
}

#[tokio::test]
async fn a_page_has_32_items_unless_told_otherwise_and_counts_all() {
    let service = Service::start().await;
    service
        .execute(&format!(
            "insert into customer (organisation_id, cu_ref_no)
                 select {0}, 'many' || lpad(i::text, 12, '0') from generate_series(1, 501) i;
             insert into customer_match
                 (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager,
                  created_at, matched_at, updated_at)
                 select {0}, m.cu_ref_no, c.cu_ref_no, true, false, now(), now(), now()
                 from customer c join customer m on m.organisation_id = {0} and m.cu_ref_no = '{MANAGER}'
                 where c.organisation_id = {0} and c.cu_ref_no like 'many%'",
            service.organisation
        ))
        .await;
    let page = list(&service, &[("cuRefNo", MANAGER)]).await;
    assert_eq!((references(&page).len(), &page.body["itemCount"]), (32, &json!(501)));
    let page = list(&service, &[("cuRefNo", MANAGER), ("limit", "500")]).await;
    assert_eq!((references(&page).len(), &page.body["itemCount"]), (500, &json!(501)));
    let cursor = page.body["nextCursor"].as_str().unwrap();
    let last = list(&service, &[("cuRefNo", MANAGER), ("limit", "500"), ("cursor", cursor)]).await;
    assert_eq!(
        (references(&last).len(), &last.body["itemCount"], &last.body["nextCursor"]),
        (1, &json!(501), &Value::Null)
    );
}

#[tokio::test]
async fn a_long_list_is_counted_up_to_a_bound_and_walked_whole() {
    let service = Service::start().await;
    service.add_a_long_list().await;
    let parameters = [("cuRefNo", MANAGER), ("limit", "500")];
    let page = list(&service, &parameters).await;
    assert_eq!((&page.body["itemCount"], &page.body["itemCountExact"]), (&json!(10_000), &json!(false)));
    let pages = walk(&service, &parameters, async || {}).await;
    assert_eq!(pages.len(), 22);
    assert_eq!(pages.concat(), service.list_of_manager("true").await);
}

#[tokio::test]
async fn a_cursor_shows_no_internal_id() {
    let service = Service::start().await;
    for i in 0..2 {
        add_matched(&service, &format!("customer{i:08}")).await;
    }
    let page = list(&service, &[("cuRefNo", MANAGER), ("limit", "1")]).await;
    let cursor = page.body["nextCursor"].as_str().unwrap();
    assert_eq!(cursor.len(), 54, "eight bytes of time, the reference and the signature: nothing else");
}

#[rstest]
#[case::neither(&[], "identityId")]
#[case::both_empty(&[("identityId", ""), ("cuRefNo", " ")], "identityId")]
#[case::both(&[("identityId", "0123456789abcdefghijABCDEFGHIJKL"), ("cuRefNo", MANAGER)], "cuRefNo")]
#[case::reference_of_15(&[("cuRefNo", "1cGIHvFoQDGLAbc")], "cuRefNo")]
#[case::reference_with_nul(&[("cuRefNo", "1cGIHvFoQDGLAbc\0")], "cuRefNo")]
#[case::reference_twice(&[("cuRefNo", MANAGER), ("cuRefNo", MANAGER)], "cuRefNo")]
#[case::identity_twice(&[("identityId", "a"), ("identityId", "b")], "identityId")]
#[case::limit_0(&[("cuRefNo", MANAGER), ("limit", "0")], "limit")]
#[case::limit_501(&[("cuRefNo", MANAGER), ("limit", "501")], "limit")]
#[case::limit_negative(&[("cuRefNo", MANAGER), ("limit", "-1")], "limit")]
#[case::limit_not_a_number(&[("cuRefNo", MANAGER), ("limit", "all")], "limit")]
#[case::limit_twice(&[("cuRefNo", MANAGER), ("limit", "5"), ("limit", "6")], "limit")]
#[case::query_with_nul(&[("cuRefNo", MANAGER), ("query", "a\0b")], "query")]
#[case::query_of_two_lines(&[("cuRefNo", MANAGER), ("query", "a\nb")], "query")]
#[case::query_too_long(&[("cuRefNo", MANAGER), ("query", &"x".repeat(255))], "query")]
#[case::query_twice(&[("cuRefNo", MANAGER), ("query", "a"), ("query", "b")], "query")]
#[case::cursor_of_words(&[("cuRefNo", MANAGER), ("cursor", "next")], "cursor")]
#[case::cursor_of_zeros(&[("cuRefNo", MANAGER), ("cursor", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")], "cursor")]
#[tokio::test]
async fn breaks_a_rule(#[case] parameters: &[(&str, &str)], #[case] field: &str) {
    let service = Service::start().await;
    service.get_from(LIST, parameters).await.assert_invalid(field);
}

#[tokio::test]
async fn all_invalid_parameters_are_named() {
    let service = Service::start().await;
    let parameters = [("limit", "0"), ("cuRefNo", "x"), ("query", "a\nb"), ("cursor", "c"), ("cursor", "d")];
    let answer = service.get_from(LIST, &parameters).await;
    answer.assert_invalid("cuRefNo");
    insta::assert_json_snapshot!(answer.body["error"]["errors"], @r#"
    [
      {
        "description": "Parameter \"cuRefNo\" must be exactly 16 letters or digits (A-Z, a-z, 0-9).",
        "field": "cuRefNo"
      },
      {
        "description": "Parameter \"query\" must not contain control characters.",
        "field": "query"
      },
      {
        "description": "Parameter \"cursor\" must not be given more than once.",
        "field": "cursor"
      },
      {
        "description": "Parameter \"limit\" must be a whole number from 1 to 500.",
        "field": "limit"
      }
    ]
    "#);
}

/// What a customer was given or was not is not to be found out by cursors.
#[tokio::test]
async fn a_cursor_that_was_made_up_tells_nothing() {
    let service = Service::start().await;
    add_matched(&service, "deletedCustomer1").await;
    service.delete_customer("deletedCustomer1").await;
    // A time and a reference, without and with a signature.
    for code in [&[][..], &[0; 16]] {
        let mut answers = Vec::new();
        for reference in [CUSTOMER, "deletedCustomer1", "nobodyHasThisOne"] {
            let bytes = [&1_735_438_024_829_567_i64.to_be_bytes(), reference.as_bytes(), code].concat();
            let cursor = BASE64_URL_SAFE_NO_PAD.encode(bytes);
            let answer = service.get_from(LIST, &[("cuRefNo", MANAGER), ("cursor", &cursor)]).await;
            answer.assert_invalid("cursor");
            answers.push(answer.body);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    }
}

/// All servers of a database sign alike, also one that was started later.
#[tokio::test]
async fn a_cursor_is_good_on_every_server() {
    let service = Service::start().await;
    for i in 0..2 {
        add_matched(&service, &format!("customer{i:08}")).await;
    }
    let page = list(&service, &[("cuRefNo", MANAGER), ("limit", "1")]).await;
    let cursor = page.body["nextCursor"].as_str().unwrap();
    let restarted = service.restarted();
    let page = list(&restarted, &[("cuRefNo", MANAGER), ("cursor", cursor)]).await;
    assert_eq!(references(&page), ["customer00000000"]);
}

/// A cursor is a place in the order: whether a customer has its reference makes no difference.
#[tokio::test]
async fn a_cursor_tells_nothing_of_its_reference() {
    let service = Service::start().await;
    for cu_ref_no in ["earlier000000001", "later00000000001", "sameTimeBefore01", "behindSameTime01"] {
        add_matched(&service, cu_ref_no).await;
    }
    service
        .execute(
            "update customer_match set created_at = '2024-12-01', matched_at = case high_cu_ref_no
                 when 'earlier000000001' then '2024-12-29 02:07:04.829566+00'
                 when 'later00000000001' then '2024-12-29 02:07:04.829568+00'
                 else '2024-12-29 02:07:04.829567+00'::timestamptz end",
        )
        .await;
    let secret: Vec<u8> =
        sqlx::query_scalar("select secret from cursor_key").fetch_one(&service.pool).await.unwrap();
    let place = Cursor {
        matched_at: "2024-12-29T02:07:04.829567Z".parse().unwrap(),
        cu_ref_no: CuRefNo::parse("nobodyHasThisOne").unwrap(),
    };
    let cursor = &CursorKey::new(&secret).sign(service.organisation, &place);
    let behind = async || {
        let page = list(&service, &[("cuRefNo", MANAGER), ("cursor", cursor)]).await;
        assert_eq!((&page.body["itemCount"], &page.body["nextCursor"]), (&json!(4), &Value::Null));
        references(&page)
    };
    assert_eq!(behind().await, ["behindSameTime01", "earlier000000001"]);
    service.add_customer("nobodyHasThisOne", None).await;
    assert_eq!(behind().await, ["behindSameTime01", "earlier000000001"]);
    service.delete_customer("nobodyHasThisOne").await;
    assert_eq!(behind().await, ["behindSameTime01", "earlier000000001"]);
}

#[tokio::test]
async fn every_tampering_with_a_cursor_is_rejected() {
    let service = Service::start().await;
    for i in 0..2 {
        add_matched(&service, &format!("customer{i:08}")).await;
    }
    let page = list(&service, &[("cuRefNo", MANAGER), ("limit", "1")]).await;
    let cursor = page.body["nextCursor"].as_str().unwrap();
    for place in 0..cursor.len() {
        for replacement in ["A", "z", "_", "%00", "="] {
            let tampered = format!("{}{replacement}{}", &cursor[..place], &cursor[place + 1..]);
            let answer = service
                .get(&format!("{LIST}?apiKey={}&cuRefNo={MANAGER}&cursor={tampered}", service.key))
                .await;
            if tampered != cursor {
                answer.assert_invalid("cursor");
            }
        }
    }
}

#[tokio::test]
async fn what_does_not_matter_is_ignored() {
    let service = Service::start().await;
    let parameters = [
        ("cuRefNo", MANAGER),
        ("limit", ""),
        ("query", " "),
        ("cursor", ""),
        ("future", "1"),
        ("future", "2"),
    ];
    assert_eq!(list(&service, &parameters).await.body["itemCount"], 0);
    let unknown = service.get_from(LIST, &[("cuRefNo", "0000000000000000")]).await;
    unknown.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    assert_eq!(unknown.body["error"]["description"], "Customer 0000000000000000");
}

#[rstest]
#[case::of_latin_1("query=Nov%E1k", "query")]
#[case::cut_off("query=Nov%C3", "query")]
#[case::a_surrogate("query=%ED%A0%80", "query")]
#[case::in_an_unknown_parameter("future=%ff", "future")]
#[case::in_a_name("%ff=1", "")]
#[tokio::test]
async fn a_query_that_is_not_utf_8_is_400(#[case] parameter: &str, #[case] name: &str) {
    let service = Service::start().await;
    let uri = format!("{LIST}?apiKey={}&cuRefNo={MANAGER}&{parameter}", service.key);
    let answer = service.get(&uri).await;
    answer.assert_error(400, "INTERNAL_VALIDATION_FAILED");
    assert_eq!(answer.body["error"]["description"], format!("Parameter \"{name}\" is not UTF-8."));
}
