//! `If-Match` and `If-None-Match` on a match and an unmatch (contract §1, RFC 9110).

use axum::body::Body;
use customer_match::db::customer_merge;
use customer_match::domain::{CuRefNo, Email, Match, NamedCustomer, Precondition, Versions};
use customer_match::group_commit::{Submitter, WriteError};
use futures_util::future::{join, join_all};
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::{Answer, CUSTOMER, MANAGER, MATCH, RELATION, Service, UNMATCH, json_request, uri};

const FAILED: &str = "INTERNAL_PRECONDITION_FAILED";
const IF_MATCH: &str = "if-match";
const IF_NONE_MATCH: &str = "if-none-match";

fn pair(notice: &str) -> Value {
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": notice })
}

async fn call_with(
    service: &Service,
    key: &str,
    path: &str,
    body: &Value,
    headers: &[(&str, &str)],
) -> Answer {
    let request = json_request(&uri(path, key, &[]));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    service.call(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn call(service: &Service, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
    call_with(service, &service.key, path, body, headers).await
}

/// The relation of the documented customers, with the notice "v1" at version 1.
async fn matched() -> Service {
    let service = Service::start().await;
    service.post_match(pair("v1")).await.assert_success();
    service
}

/// What a client reads before it edits.
async fn etag(service: &Service) -> String {
    let answer =
        service.get_from(RELATION, &[("managerCuRefNo", MANAGER), ("customerCuRefNo", CUSTOMER)]).await;
    answer.headers["etag"].to_str().unwrap().into()
}

#[rstest]
#[case::the_version(&[(IF_MATCH, "\"1\"")], 200)]
#[case::among_others(&[(IF_MATCH, "\"7\", \"1\"")], 200)]
#[case::in_another_line(&[(IF_MATCH, "\"7\""), (IF_MATCH, "\"1\"")], 200)]
#[case::any(&[(IF_MATCH, "*")], 200)]
#[case::another(&[(IF_MATCH, "\"2\"")], 412)]
#[case::a_weak_one(&[(IF_MATCH, "W/\"1\"")], 412)]
#[case::of_something_else(&[(IF_MATCH, "\"abc\"")], 412)]
#[case::none_of_any(&[(IF_NONE_MATCH, "*")], 412)]
#[case::none_of_the_version(&[(IF_NONE_MATCH, "\"1\"")], 412)]
#[case::none_of_the_weak_version(&[(IF_NONE_MATCH, "W/\"1\"")], 412)]
#[case::none_of_others(&[(IF_NONE_MATCH, "\"2\", \"abc\"")], 200)]
#[case::both_hold(&[(IF_MATCH, "*"), (IF_NONE_MATCH, "\"2\"")], 200)]
#[case::one_does_not(&[(IF_MATCH, "\"1\""), (IF_NONE_MATCH, "\"1\"")], 412)]
#[tokio::test]
async fn a_condition_is_about_the_version(
    #[case] headers: &[(&str, &str)],
    #[case] status: u16,
    #[values(MATCH, UNMATCH)] path: &str,
    #[values(false, true)] ended: bool,
) {
    let service = Service::start().await;
    // At version 1, active or ended.
    let ended_at = if ended { "now()" } else { "null" };
    service
        .execute(&format!(
            "insert into customer_match (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager,
                                         notice, created_at, matched_at, updated_at, deactivated_at)
             values (1, '{MANAGER}', '{CUSTOMER}', true, false, 'v1', now(), now(), now(), {ended_at})"
        ))
        .await;
    let before = service.relations().await;
    let answer = call(&service, path, &pair("v2"), headers).await;
    if status == 200 {
        answer.assert_success();
        let (notice, end) = if path == MATCH { ("v2", "") } else { ("v1", " (inactive)") };
        assert_eq!(service.relations().await, [format!("{MANAGER}>{CUSTOMER} {notice}{end}")]);
    } else {
        answer.assert_error(412, FAILED);
        assert_eq!(
            (answer.body["relation"]["notice"].as_str(), &answer.headers["etag"]),
            (Some("v1"), &"\"1\"".parse().unwrap())
        );
        assert_eq!(service.relations().await, before);
    }
}

#[tokio::test]
async fn a_412_shows_the_relation_as_it_is() {
    let service = matched().await;
    let reverse = json!({ "managerCuRefNo": CUSTOMER, "customerCuRefNo": MANAGER, "notice": "v2" });
    let mut answer = call(&service, MATCH, &reverse, &[(IF_MATCH, "\"3\"")]).await;
    assert_eq!(answer.headers["etag"], "\"1\"");
    let relation = answer.body["relation"].as_object_mut().unwrap();
    for name in ["createdAt", "matchedAt", "updatedAt"] {
        relation.remove(name).unwrap();
    }
    insta::assert_json_snapshot!(answer.snapshot(), @r#"
    {
      "body": {
        "error": {
          "code": "INTERNAL_PRECONDITION_FAILED",
          "description": "The relation does not meet the condition of If-Match or If-None-Match. The answer shows it as it is now.",
          "message": "Precondition failed."
        },
        "relation": {
          "active": true,
          "customerCuRefNo": "1cGIHvFoQDGLAbcA",
          "endedAt": null,
          "managerCuRefNo": "5CmsaVNgAQqRqoen",
          "notice": "v1",
          "role": "manager",
          "version": 1
        }
      },
      "status": 412
    }
    "#);
}

#[rstest]
#[case::by_reference(pair("v2"))]
#[case::by_address(json!({ "managerCuRefNo": MANAGER, "customerEmail": "jan@barasek.com" }))]
#[case::of_an_unknown_address(json!({ "managerCuRefNo": MANAGER, "customerEmail": "new@example.com" }))]
#[tokio::test]
async fn without_a_relation_if_match_writes_nothing(
    #[case] body: Value,
    #[values("*", "\"1\"")] condition: &str,
) {
    let service = Service::start().await;
    let answer = call(&service, MATCH, &body, &[(IF_MATCH, condition)]).await;
    answer.assert_error(412, FAILED);
    assert_eq!(answer.body.get("relation"), Some(&Value::Null));
    assert!(!answer.headers.contains_key("etag"));
    assert_eq!(
        (service.count("customer").await, service.count("customer_match").await),
        (2, 0),
        "no guest either"
    );
}

#[rstest]
#[case::by_reference(pair("v1"))]
#[case::by_address(json!({ "managerCuRefNo": MANAGER, "customerEmail": "jan@barasek.com" }))]
#[case::of_an_unknown_address(json!({ "managerCuRefNo": MANAGER, "customerEmail": "new@example.com" }))]
#[tokio::test]
async fn if_none_match_creates_once(#[case] body: Value) {
    let service = Service::start().await;
    let headers = [(IF_NONE_MATCH, "*"), ("prefer", "return=representation")];
    let created = call(&service, MATCH, &body, &headers).await;
    assert_eq!((created.status, &created.body["outcome"]), (200, &json!("created")));
    assert_eq!(created.body["customerCreated"], body["customerEmail"] == "new@example.com");
    assert_eq!(created.headers["etag"], "\"1\"");
    let again = call(&service, MATCH, &body, &headers).await;
    again.assert_error(412, FAILED);
    assert_eq!(again.body["relation"]["version"], 1);
}

/// RFC 9110, 13.2.1: a condition counts only where the call would succeed without it.
#[tokio::test]
async fn other_errors_come_before_the_condition() {
    let service = matched().await;
    service.add_customer("otherCustomer001", None).await;
    let never = [(IF_MATCH, "\"99\"")];
    let of =
        |manager: &str, customer: &str| json!({ "managerCuRefNo": manager, "customerCuRefNo": customer });
    for (path, body, status) in [
        (MATCH, of("0000000000000000", CUSTOMER), 404),
        (MATCH, of(MANAGER, "0000000000000000"), 404),
        (MATCH, of(MANAGER, MANAGER), 422),
        (UNMATCH, of(MANAGER, "0000000000000000"), 404),
        (UNMATCH, of(MANAGER, "otherCustomer001"), 404),
        (UNMATCH, of(MANAGER, MANAGER), 422),
    ] {
        let answer = call(&service, path, &body, &never).await;
        assert_eq!(answer.status, status, "{path} {body}: {:#}", answer.body);
    }
    let own_address = json!({ "managerCuRefNo": CUSTOMER, "customerEmail": "jan@barasek.com" });
    call(&service, MATCH, &own_address, &never).await.assert_invalid("/customerEmail");
}

#[rstest]
#[case::no_quotation_marks("1")]
#[case::empty("")]
#[case::asterisk_in_a_list("*, \"1\"")]
#[tokio::test]
async fn a_malformed_condition_is_400(
    #[case] value: &str,
    #[values(IF_MATCH, IF_NONE_MATCH)] name: &str,
    #[values(MATCH, UNMATCH)] path: &str,
) {
    let service = matched().await;
    let answer = call(&service, path, &pair("v2"), &[(name, value)]).await;
    answer.assert_error(400, "INTERNAL_VALIDATION_FAILED");
    assert_eq!(
        answer.body["error"]["description"],
        format!(
            "The header {name} must be * or a list of entity tags, each between quotation marks, such as \"3\"."
        )
    );
    assert_eq!(service.relations().await, [format!("{MANAGER}>{CUSTOMER} v1")]);
}

/// One read, then each answer has what the next edit needs.
#[tokio::test]
async fn a_client_goes_on_editing_by_the_answers() {
    let service = matched().await;
    let mut tag = etag(&service).await;
    for (path, notice) in [(MATCH, "v2"), (MATCH, "v2"), (UNMATCH, ""), (UNMATCH, ""), (MATCH, "v3")] {
        let headers = [(IF_MATCH, tag.as_str()), ("prefer", "return=representation")];
        let answer = call(&service, path, &pair(notice), &headers).await;
        assert_eq!(answer.status, 200, "{:#}", answer.body);
        assert_eq!(answer.headers["preference-applied"], "return=representation");
        tag = answer.headers["etag"].to_str().unwrap().into();
        assert_eq!(format!("\"{}\"", answer.body["relation"]["version"]), tag);
    }
    // Two of the calls changed nothing.
    assert_eq!((tag.as_str(), etag(&service).await.as_str()), ("\"4\"", "\"4\""));
}

#[tokio::test]
async fn an_unmatch_shows_what_it_left() {
    let service = matched().await;
    let mut answer = call(&service, UNMATCH, &pair(""), &[("prefer", "return=representation")]).await;
    let relation = answer.body["relation"].as_object_mut().unwrap();
    assert_eq!(relation["endedAt"], relation["updatedAt"]);
    for name in ["createdAt", "matchedAt", "updatedAt", "endedAt"] {
        assert!(relation.remove(name).unwrap().is_string());
    }
    insta::assert_json_snapshot!(answer.snapshot(), @r#"
    {
      "body": {
        "relation": {
          "active": false,
          "customerCuRefNo": "5CmsaVNgAQqRqoen",
          "managerCuRefNo": "1cGIHvFoQDGLAbcA",
          "notice": "v1",
          "role": "customer",
          "version": 2
        },
        "success": true
      },
      "status": 200
    }
    "#);
}

/// Many clients edit what they have read, again and again. One of them wins each time, and the others are told what it wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_clients_that_edit_one_version_one_wins() {
    let service = matched().await;
    for round in 0..30 {
        let tag = etag(&service).await;
        let edits = join_all((0..8).map(|client| {
            let (service, tag) = (&service, &tag);
            async move {
                let body = pair(&format!("{round} {client}"));
                (client, call(service, MATCH, &body, &[(IF_MATCH, tag.as_str())]).await)
            }
        }))
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = edits.into_iter().partition(|(_, answer)| answer.status == 200);
        let [(winner, _)] = won[..] else { panic!("{} won: {lost:?}", won.len()) };
        for (_, answer) in lost {
            answer.assert_error(412, FAILED);
            assert_eq!(answer.body["relation"]["notice"], format!("{round} {winner}"));
            assert_eq!(answer.body["relation"]["version"], round + 2);
        }
    }
}

/// Unconditional writes in between are never lost either: a conditional one that follows them sees them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_has_one_writer() {
    let service = matched().await;
    let calls = join_all((0..120).map(|i| {
        let service = &service;
        async move {
            let body = pair(&format!("edit {i}"));
            match i % 4 {
                0 => call(service, MATCH, &body, &[]).await,
                1 => call(service, UNMATCH, &body, &[(IF_MATCH, "*")]).await,
                _ => {
                    let tag = etag(service).await;
                    call(service, MATCH, &body, &[(IF_MATCH, &tag)]).await
                }
            }
        }
    }))
    .await;
    assert!(calls.iter().all(|answer| [200, 412].contains(&answer.status)));
    let written = |unmatches| {
        let succeeded = calls.iter().enumerate().filter(|(_, answer)| answer.status == 200);
        succeeded.filter(|(i, _)| unmatches || i % 4 != 1).count() as i64
    };
    let version: i64 =
        sqlx::query_scalar("select version from customer_match").fetch_one(&service.pool).await.unwrap();
    // Each match that succeeded made a version of its own; an unmatch of what has ended made none.
    assert!((written(false)..=written(true)).contains(&(version - 1)), "version {version}");
}

#[rstest]
#[case::by_reference(pair("mine"), 2)]
#[case::by_address(json!({ "managerCuRefNo": MANAGER, "customerEmail": "new@example.com" }), 3)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_clients_that_create_one_relation_one_does(#[case] body: Value, #[case] customers: i64) {
    let service = Service::start().await;
    let here = (0..30).map(|_| call(&service, MATCH, &body, &[(IF_NONE_MATCH, "*")]));
    // Another server, so that the calls meet in the database too.
    let other = service.database.group_commit();
    let email = body["customerEmail"].as_str().map(|email| Email::parse(email).unwrap());
    let wanted = Match {
        manager: CuRefNo::parse(MANAGER).unwrap(),
        customer: email
            .map_or(NamedCustomer::CuRefNo(CuRefNo::parse(CUSTOMER).unwrap()), NamedCustomer::Email),
        notice: None,
        representation: false,
    };
    let only_create = Precondition { if_none_match: Some(Versions::Any), ..Precondition::default() };
    let there = (0..30).map(|_| {
        other.match_customers_if(Submitter::new(service.organisation), wanted.clone(), only_create.clone())
    });
    let (here, there) = join(join_all(here), join_all(there)).await;
    let mut created = 0;
    for answer in here {
        created += u32::from(answer.status == 200);
        assert!([200, 412].contains(&answer.status), "{:#}", answer.body);
    }
    for result in there {
        created += u32::from(result.is_ok());
        assert!(matches!(result, Ok(_) | Err(WriteError::PreconditionFailed(Some(_)))), "{result:?}");
    }
    assert_eq!(created, 1);
    assert_eq!((service.count("customer").await, service.count("customer_match").await), (customers, 1));
}

async fn locked_by(service: &Service, sql: &str) -> PgConnection {
    let mut connection = PgConnection::connect_with(&service.database.options()).await.unwrap();
    sqlx::raw_sql(&format!("begin; {sql}")).execute(&mut connection).await.unwrap();
    connection
}

/// It waits for the lock, and then sees what the transaction has done.
#[rstest]
#[case::unchanged("select from customer_match where organisation_id = 1 for update", 200)]
#[case::changed(
    "update customer_match set notice = 'theirs', version = version + 1, changed_in = change_number(version)
     where organisation_id = 1",
    412
)]
#[tokio::test]
async fn a_condition_is_looked_at_under_the_lock(#[case] sql: &str, #[case] status: u16) {
    let service = matched().await;
    let mut lock = locked_by(&service, sql).await;
    let conditional = async { call(&service, MATCH, &pair("mine"), &[(IF_MATCH, "\"1\"")]).await };
    let release = async {
        // Blocked: it met the lock.
        while service.samples(&["match_writes_blocked"]).await.iter().all(|sample| !sample.ends_with(" 1")) {
            tokio::task::yield_now().await;
        }
        sqlx::raw_sql("commit").execute(&mut lock).await.unwrap();
    };
    let (answer, ()) = join(conditional, release).await;
    assert_eq!(answer.status, status, "{:#}", answer.body);
    if status == 412 {
        assert_eq!(answer.body["relation"]["notice"], "theirs");
    }
}

#[tokio::test]
async fn a_merge_is_another_version() {
    let service = matched().await;
    service.add_customer("legacyCustomer01", None).await;
    let legacy =
        json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": "legacyCustomer01", "notice": "legacy" });
    service.post_match(legacy).await.assert_success();
    let tag = etag(&service).await;
    let [legacy, survivor] = ["legacyCustomer01", CUSTOMER].map(|name| CuRefNo::parse(name).unwrap());
    let merge = customer_merge::Merge { organisation_id: 1, legacy: &legacy, survivor: &survivor };
    customer_merge::merge(&service.pool, merge).await.unwrap();
    let answer = call(&service, MATCH, &pair("mine"), &[(IF_MATCH, &tag)]).await;
    answer.assert_error(412, FAILED);
    assert_eq!(answer.body["relation"]["notice"], "v1\n\nlegacy");
    let tag = answer.headers["etag"].to_str().unwrap();
    call(&service, MATCH, &pair("mine"), &[(IF_MATCH, tag)]).await.assert_success();
}

/// A key that may not read learns of the relation what it sent, the version and the times.
#[tokio::test]
async fn a_412_shows_no_more_than_the_key_may_read() {
    let service = matched().await;
    let key = service.add_key(service.organisation, &["customer.match"]).await;
    let shown = async |path, body: Value, condition: (&str, &str)| {
        let mut answer = call_with(&service, &key, path, &body, &[condition]).await;
        answer.assert_error(412, FAILED);
        assert_eq!(answer.headers["etag"], "\"1\"");
        let relation = answer.body["relation"].as_object_mut().unwrap();
        for name in ["createdAt", "matchedAt", "updatedAt", "endedAt", "version"] {
            relation.remove(name).unwrap();
        }
        Value::from(relation.clone())
    };
    let names = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "active": true });
    for path in [MATCH, UNMATCH] {
        assert_eq!(shown(path, pair("mine"), (IF_MATCH, "\"2\"")).await, names);
    }
    let by_address = json!({ "managerCuRefNo": MANAGER, "customerEmail": "jan@barasek.com" });
    let manager = json!({ "managerCuRefNo": MANAGER, "active": true });
    assert_eq!(shown(MATCH, by_address, (IF_NONE_MATCH, "*")).await, manager);

    let unmatched =
        call_with(&service, &key, UNMATCH, &pair(""), &[("prefer", "return=representation")]).await;
    assert_eq!(unmatched.body["relation"]["version"], 2);
    assert!(!unmatched.body.to_string().contains("v1"), "{:#}", unmatched.body);
}

/// The other organisation's relation of customers with the same references has version 1 too.
#[tokio::test]
async fn a_condition_is_about_the_own_relation() {
    let service = matched().await;
    let (other, key) = service.add_organisation("Other").await;
    service.add_customer_of(other, MANAGER, None).await;
    service.add_customer_of(other, CUSTOMER, None).await;
    let answer = call_with(&service, &key, MATCH, &pair("mine"), &[(IF_MATCH, "\"1\"")]).await;
    answer.assert_error(412, FAILED);
    assert_eq!(answer.body["relation"], Value::Null);
    call_with(&service, &key, MATCH, &pair("mine"), &[(IF_NONE_MATCH, "*")]).await.assert_success();
    assert_eq!(service.relations().await, [format!("{MANAGER}>{CUSTOMER} v1")]);
}
