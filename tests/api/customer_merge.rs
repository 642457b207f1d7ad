//! `customer-match customer merge`: two customers that are one person become one, and nothing either had is lost.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use customer_match::db::customer_merge::{self, Merge, MergeError};
use customer_match::domain::CuRefNo;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::binary::{on, run, run_json, run_refused};
use crate::support::{CUSTOMER, DETAIL, MANAGER, Service, one_way};

const LEGACY: &str = "legacyCustomer01";
const FINAL: &str = "survivingCust001";
const OTHER: &str = "otherCustomer001";

/// A service with these customers.
async fn with_customers(cu_ref_nos: &[&str]) -> Service {
    let service = Service::start().await;
    for cu_ref_no in cu_ref_nos {
        service.add_customer(cu_ref_no, None).await;
    }
    service
}

async fn relate(service: &Service, manager: &str, customer: &str, notice: &str) {
    let body = json!({ "managerCuRefNo": manager, "customerCuRefNo": customer, "notice": notice });
    service.post_match(body).await.assert_success();
}

fn merge<'a>(legacy: &'a str, survivor: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["customer", "merge", legacy, survivor, "--organisation", "1"], more].concat()
}

fn merge_now(service: &Service) -> Value {
    merge_them_now(service, LEGACY, FINAL)
}

fn merge_them_now(service: &Service, legacy: &str, survivor: &str) -> Value {
    run_json(on(&service.database, &merge(legacy, survivor, &["--yes", "--format", "json"])))
}

async fn text(service: &Service, sql: &str) -> String {
    sqlx::query_scalar(sql).fetch_one(&service.pool).await.unwrap()
}

/// A relation of the legacy customer, which stays as it ended.
fn ended(manager: &str, customer: &str) -> String {
    format!("{} (inactive)", one_way(manager, customer))
}

/// Of both sides in the order of their pairs.
fn sorted<const N: usize>(mut relations: [String; N]) -> [String; N] {
    relations.sort_by_key(|relation| relation.replace("<>", ">").replace('<', ">"));
    relations
}

/// Whoever has the lower reference of each pair, and whoever manages whom.
#[rstest]
#[case::other_is_high(LEGACY, FINAL, "theOtherCustomer")]
#[case::other_is_low(LEGACY, FINAL, "anotherCustomer1")]
#[case::other_is_between(LEGACY, FINAL, OTHER)]
#[case::other_is_between_the_other_way(FINAL, LEGACY, OTHER)]
#[tokio::test]
async fn pairs_that_become_the_same_are_joined(
    #[case] legacy: &str,
    #[case] survivor: &str,
    #[case] other: &str,
    #[values(true, false)] legacy_manages: bool,
    #[values(true, false)] final_manages: bool,
) {
    let service = with_customers(&[legacy, survivor, other]).await;
    let pair = |manages, who| if manages { (who, other) } else { (other, who) };
    let (manager, customer) = pair(legacy_manages, legacy);
    relate(&service, manager, customer, "of legacy").await;
    let (manager, customer) = pair(final_manages, survivor);
    relate(&service, manager, customer, "of final").await;
    service
        .execute("update customer_match set created_at = '2020-01-01', matched_at = '2021-01-01' where notice = 'of legacy'")
        .await;

    let merged = merge_them_now(&service, legacy, survivor);
    assert_eq!(merged["joined"], json!([other]));
    assert_eq!(merged["relations"], 1);

    let (final_manages, other_manages) = (legacy_manages || final_manages, !legacy_manages || !final_manages);
    let (low, high, low_manages, high_manages) = if survivor < other {
        (survivor, other, final_manages, other_manages)
    } else {
        (other, survivor, other_manages, final_manages)
    };
    let sign = match (low_manages, high_manages) {
        (true, true) => "<>",
        (true, false) => ">",
        _ => "<",
    };
    let (manager, customer) = pair(legacy_manages, legacy);
    let joined = format!("{low}{sign}{high} of final\n\nof legacy");
    assert_eq!(service.relations().await, sorted([joined, ended(manager, customer)]));
    let (created, matched): (DateTime<Utc>, DateTime<Utc>) =
        sqlx::query_as("select created_at, matched_at from customer_match where deactivated_at is null")
            .fetch_one(&service.pool)
            .await
            .unwrap();
    assert_eq!(
        (created.to_rfc3339(), matched.to_rfc3339()),
        ("2020-01-01T00:00:00+00:00".into(), "2021-01-01T00:00:00+00:00".into())
    );
}

#[rstest]
#[case::both_the_same("same", "same", "same")]
#[case::only_of_legacy("kept", "", "kept")]
#[case::only_of_final("", "kept", "kept")]
#[tokio::test]
async fn a_notice_is_not_doubled(#[case] of_legacy: &str, #[case] of_final: &str, #[case] joined: &str) {
    let service = with_customers(&[LEGACY, FINAL, OTHER]).await;
    relate(&service, LEGACY, OTHER, of_legacy).await;
    relate(&service, FINAL, OTHER, of_final).await;
    merge_now(&service);
    assert_eq!(service.relations().await, [ended(LEGACY, OTHER), format!("{OTHER}<{FINAL} {joined}")]);
}

#[rstest]
#[case::legacy_inactive(LEGACY, "")]
#[case::final_inactive(FINAL, "")]
#[case::both_inactive("", " (inactive)")]
#[tokio::test]
async fn a_joined_relation_is_active_if_either_was(#[case] inactive: &str, #[case] state: &str) {
    let service = with_customers(&[LEGACY, FINAL, OTHER]).await;
    relate(&service, LEGACY, OTHER, LEGACY).await;
    relate(&service, FINAL, OTHER, FINAL).await;
    service
        .execute(&format!(
            "update customer_match set deactivated_at = now(), updated_at = now() where '{inactive}' in ('', notice)"
        ))
        .await;
    let active_since = "select coalesce(min(matched_at) filter (where deactivated_at is null), max(matched_at))::text from customer_match";
    let expected = text(&service, active_since).await;
    merge_now(&service);
    let joined = format!("{OTHER}<{FINAL} {FINAL}\n\n{LEGACY}{state}");
    assert_eq!(service.relations().await, [ended(LEGACY, OTHER), joined]);
    let of_final = format!("select matched_at::text from customer_match where high_cu_ref_no = '{FINAL}'");
    assert_eq!(text(&service, &of_final).await, expected);
}

#[tokio::test]
async fn everything_moves_and_the_relation_with_itself_ends() {
    let service = Service::start().await;
    service.add_customer(LEGACY, Some("legacy@example.com")).await;
    service.add_customer(FINAL, None).await;
    service.add_customer(OTHER, None).await;
    service
        .execute("update customer set phone = '1', first_name = 'Old' where cu_ref_no = 'legacyCustomer01'")
        .await;
    service.execute("update customer set first_name = 'New' where cu_ref_no = 'survivingCust001'").await;
    relate(&service, LEGACY, MANAGER, "m").await;
    relate(&service, CUSTOMER, LEGACY, "c").await;
    relate(&service, LEGACY, OTHER, "o").await;
    relate(&service, FINAL, LEGACY, "self").await;
    relate(&service, FINAL, OTHER, "").await;
    relate(&service, MANAGER, CUSTOMER, "untouched").await;
    service
        .execute("update customer_match set deactivated_at = now(), updated_at = now() where notice = 'c'")
        .await;

    let before = service.relations().await;
    let would = run(on(&service.database, &merge(LEGACY, FINAL, &["--dry-run"])));
    insta::assert_snapshot!(would, @"
    Customer legacyCustomer01 would be merged into survivingCust001:
      3 relation(s) move, 1 of them into an existing one
        merged into the relation with otherCustomer001
      their relation with each other ends
      filled in: email, phone
    ");
    assert_eq!(service.relations().await, before);
    assert_eq!(text(&service, "select count(*)::text from customer where deleted_at is not null").await, "0");

    assert_eq!(
        merge_now(&service),
        json!({
            "dryRun": false, "legacy": LEGACY, "final": FINAL, "relations": 3, "joined": [OTHER],
            "selfRelationEnded": true, "filled": ["email", "phone"],
        })
    );
    assert_eq!(
        service.relations().await,
        [
            "1cGIHvFoQDGLAbcA>5CmsaVNgAQqRqoen untouched",
            "1cGIHvFoQDGLAbcA<legacyCustomer01 (inactive)",
            "1cGIHvFoQDGLAbcA<survivingCust001 m",
            "5CmsaVNgAQqRqoen>legacyCustomer01 (inactive)",
            "5CmsaVNgAQqRqoen>survivingCust001 c (inactive)",
            "legacyCustomer01>otherCustomer001 (inactive)",
            "legacyCustomer01<survivingCust001 self (inactive)",
            "otherCustomer001<survivingCust001 o",
        ]
    );
    let customers = "select string_agg(concat_ws(' ', cu_ref_no, email, first_name, phone, deletion_reason), E'\\n' order by cu_ref_no)
                     from customer where cu_ref_no in ('legacyCustomer01', 'survivingCust001')";
    insta::assert_snapshot!(text(&service, customers).await, @"
    legacyCustomer01 legacy@example.com Old 1 merged into survivingCust001
    survivingCust001 legacy@example.com New 1
    ");

    // From now on the address is the survivor's and the reference nobody's.
    let by_address = json!({ "managerCuRefNo": OTHER, "customerEmail": "legacy@example.com" });
    service.post_match(by_address).await.assert_success();
    assert_eq!(service.relations().await[7], "otherCustomer001<>survivingCust001 o");
    let by_reference = json!({ "managerCuRefNo": OTHER, "customerCuRefNo": LEGACY });
    service.post_match(by_reference).await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn notices_that_do_not_fit_into_one_stop_the_merge() {
    let service = with_customers(&[LEGACY, FINAL, OTHER]).await;
    relate(&service, LEGACY, MANAGER, "moves").await;
    relate(&service, LEGACY, OTHER, &"l".repeat(5_000)).await;
    relate(&service, FINAL, OTHER, &"f".repeat(4_999)).await;
    let before = service.relations().await;
    let refused = run_refused(on(&service.database, &merge(LEGACY, FINAL, &["--yes"])));
    assert_eq!(
        refused,
        "error: the notices of legacyCustomer01 and of survivingCust001 with otherCustomer001 are longer than 10000 \
         characters together: shorten one of them first\n"
    );
    assert_eq!(service.relations().await, before);

    relate(&service, FINAL, OTHER, &"f".repeat(4_998)).await;
    merge_now(&service);
    assert_eq!(text(&service, "select max(char_length(notice))::text from customer_match").await, "10000");
}

#[tokio::test]
async fn what_cannot_be_merged_is_told_in_one_line() {
    let service = with_customers(&[LEGACY, FINAL, OTHER]).await;
    service.execute("update customer set deleted_at = now() where cu_ref_no = 'otherCustomer001'").await;
    let attempt = |legacy, survivor, organisation, more: &[&str]| {
        let arguments = ["customer", "merge", legacy, survivor, "--organisation", organisation];
        run_refused(on(&service.database, &[&arguments[..], more].concat()))
    };
    let mut errors = vec![
        attempt(LEGACY, FINAL, "1", &[]),
        attempt(LEGACY, LEGACY, "1", &["--yes"]),
        attempt("nobodyHasThisOne", FINAL, "1", &["--yes"]),
        attempt(LEGACY, FINAL, "2", &["--dry-run"]),
        attempt(LEGACY, OTHER, "1", &["--yes"]),
    ];
    merge_now(&service);
    errors.push(attempt(LEGACY, FINAL, "1", &["--yes"]));
    insta::assert_json_snapshot!(errors, @r#"
    [
      "error: this cannot be undone, and there is no terminal for a confirmation: pass --yes to confirm\n",
      "error: a customer cannot be merged with itself\n",
      "error: organisation 1 has no customer nobodyHasThisOne\n",
      "error: there is no organisation 2: `customer-match organisation list` shows which there are\n",
      "error: customer otherCustomer001 is deleted\n",
      "error: customer legacyCustomer01 is deleted: it was merged into survivingCust001\n"
    ]
    "#);
}

/// So merges make neither chains nor rings, and a customer that was merged names one that can be looked up.
#[tokio::test]
async fn a_merged_customer_names_a_living_one_or_none() {
    let service = with_customers(&[LEGACY, FINAL, OTHER]).await;
    let names = async || {
        text(&service, "select coalesce(string_agg(cu_ref_no || '>' || merged_into_cu_ref_no, ' ' order by cu_ref_no), '') from customer").await
    };
    merge_them_now(&service, LEGACY, FINAL);
    assert_eq!(names().await, format!("{LEGACY}>{FINAL}"));
    merge_them_now(&service, FINAL, OTHER);
    assert_eq!(names().await, format!("{LEGACY}>{OTHER} {FINAL}>{OTHER}"));
    let back = run_refused(on(&service.database, &merge(OTHER, LEGACY, &["--yes"])));
    assert_eq!(back, format!("error: customer {LEGACY} is deleted: it was merged into {OTHER}\n"));
    service.delete_customer(OTHER).await;
    assert_eq!(names().await, "");
    let again = run_refused(on(&service.database, &merge(LEGACY, MANAGER, &["--yes"])));
    assert_eq!(again, format!("error: customer {LEGACY} is deleted\n"));
}

#[tokio::test]
async fn the_legacy_customers_sessions_end_and_every_empty_field_is_filled() {
    let service = Service::start().await;
    service.add_customer(LEGACY, Some("legacy@example.com")).await;
    service.add_customer(FINAL, Some("final@example.com")).await;
    service
        .execute(
            "update customer set
                 first_name = 'a', last_name = 'b', company_name = 'c', phone = 'd',
                 company_registration_number = 'e', tax_identification_number = 'f', real_ip = '2001:db8::1'
             where cu_ref_no = 'legacyCustomer01'",
        )
        .await;
    let (legacy, survivor) =
        (service.log_in("legacy@example.com").await, service.log_in("final@example.com").await);
    assert_eq!(
        merge_now(&service)["filled"],
        json!([
            "firstName",
            "lastName",
            "companyName",
            "phone",
            "companyRegistrationNumber",
            "taxIdentificationNumber",
            "customerRealIp",
        ])
    );
    let own = "select concat_ws(' ', first_name, last_name, company_name, phone, company_registration_number,
                   tax_identification_number, host(real_ip), email) from customer where cu_ref_no = 'survivingCust001'";
    assert_eq!(text(&service, own).await, "a b c d e f 2001:db8::1 final@example.com");
    service
        .get_from(DETAIL, &[("identityId", &legacy)])
        .await
        .assert_error(401, "INTERNAL_USER_MUST_BE_AUTHORIZED");
    let detail = service.get_from(DETAIL, &[("identityId", &survivor)]).await;
    assert_eq!((&detail.body["cuRefNo"], &detail.body["firstName"]), (&json!(FINAL), &json!("a")));
}

/// An acknowledged match with the legacy customer ends at the survivor; a later one finds nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn matches_that_race_with_a_merge_are_not_lost() {
    let service = Arc::new(with_customers(&[LEGACY, FINAL]).await);
    let mut matches = JoinSet::new();
    for i in 0..100 {
        let manager = format!("manager{i:09}");
        service.add_customer(&manager, None).await;
    }
    for i in 0..100 {
        let manager = format!("manager{i:09}");
        let service = Arc::clone(&service);
        matches.spawn(async move {
            let body = json!({ "managerCuRefNo": manager, "customerCuRefNo": LEGACY, "notice": "n" });
            (service.post_match(body).await.status, manager)
        });
    }
    let mut answers = Vec::new();
    while answers.len() < 40 {
        answers.push(matches.join_next().await.unwrap().unwrap());
    }
    merge_in_process(&service, LEGACY, FINAL).await.unwrap();
    answers.extend(matches.join_all().await);

    let relations = service.relations().await;
    let mut acknowledged = 0;
    for (status, manager) in answers {
        let relation = format!("{manager}>{FINAL} n");
        match status {
            200 => {
                acknowledged += 1;
                assert!(relations.contains(&relation), "{relation} is lost");
            }
            404 => assert!(!relations.contains(&relation)),
            other => panic!("{other}"),
        }
    }
    let left = relations.iter().filter(|relation| relation.contains(LEGACY));
    assert!(left.clone().all(|relation| relation.ends_with(" (inactive)")), "{relations:?}");
    assert_eq!((left.count(), relations.len()), (acknowledged, 2 * acknowledged));
}

async fn merge_in_process(
    service: &Service,
    legacy: &str,
    survivor: &str,
) -> Result<customer_merge::Merged, MergeError> {
    let (legacy, survivor) = (CuRefNo::parse(legacy).unwrap(), CuRefNo::parse(survivor).unwrap());
    let wanted = Merge { organisation_id: service.organisation, legacy: &legacy, survivor: &survivor };
    customer_merge::merge(&service.pool, wanted).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_merges_crosswise_one_wins_and_the_other_says_so() {
    let service = Arc::new(with_customers(&[OTHER]).await);
    for i in 0..20 {
        let (a, b) = (format!("a{i:015}"), format!("b{i:015}"));
        service.add_customer(&a, None).await;
        service.add_customer(&b, None).await;
        relate(&service, &a, OTHER, "a").await;
        relate(&service, OTHER, &b, "b").await;
        let (there, back) =
            tokio::join!(merge_in_process(&service, &a, &b), merge_in_process(&service, &b, &a));
        match (there, back) {
            (Ok(_), Err(MergeError::AlreadyMerged(..))) | (Err(MergeError::AlreadyMerged(..)), Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let relations = service.relations().await;
    assert_eq!(relations.iter().filter(|relation| !relation.ends_with("(inactive)")).count(), 20);
}

/// Each needs what another holds, and nobody deadlocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_of_related_customers_do_not_fail_each_other() {
    let service = Arc::new(Service::start().await);
    let names: Vec<_> = (0..4).map(|i| (format!("legacy{i:010}"), format!("final{i:011}"))).collect();
    for (legacy, survivor) in &names {
        service.add_customer(legacy, None).await;
        service.add_customer(survivor, None).await;
    }
    for (i, (legacy, _)) in names.iter().enumerate() {
        for (other, _) in &names[..i] {
            relate(&service, legacy, other, "n").await;
        }
    }
    let mut merges = JoinSet::new();
    for (legacy, survivor) in names {
        let service = Arc::clone(&service);
        merges.spawn(async move { merge_in_process(&service, &legacy, &survivor).await });
    }
    for merged in merges.join_all().await {
        assert_eq!(merged.unwrap().relations, 3);
    }
    let relations = service.relations().await;
    let active = relations.iter().filter(|relation| !relation.ends_with("(inactive)"));
    assert_eq!(active.clone().count(), 6);
    assert!(active.clone().all(|relation| !relation.contains("legacy")), "{relations:?}");
}
