//! The filter of the list: a part of a name, a company or an address, whatever the case and the diacritics (contract §2).

use customer_match::db::matched_customer;
use customer_match::domain::SearchTerm;
use rstest::rstest;
use serde_json::json;

use crate::support::{CREATE, LIST, MANAGER, Service};

/// First name, last name, company, address.
const CUSTOMERS: &[[&str; 4]] = &[
    ["Jan", "Novák", "", "jan.novak@example.com"],
    ["Łucja", "Żółć", "Piekarnia ŁÓDŹ", "lucja@example.pl"],
    ["Jürgen", "Groß", "Straßenbau", "jg@bücher.de"],
    ["Søren", "Ærø", "", "soren@example.dk"],
    ["Ιωάννης", "Οδυσσεύς", "", "ioannis@example.gr"],
    ["Фёдор", "Йовков", "", "fedor@example.bg"],
    ["小明", "王", "", "wang@example.cn"],
    ["Ｆｕｌｌ", "Width", "ﬁrma", "full@example.jp"],
    ["İpek", "Işık", "", "ipek@example.com.tr"],
    ["", "", "50% off_now\\", "discount@example.com"],
    ["", "", "5000 offline", "other@example.com"],
];

#[rstest]
#[case::without_diacritics("Novak", "jan.novak@example.com")]
#[case::with_diacritics("NOVÁK", "jan.novak@example.com")]
#[case::decomposed("nova\u{301}k", "jan.novak@example.com")]
#[case::a_part("ová", "jan.novak@example.com")]
#[case::two_letters("ov", "jan.novak@example.com")]
#[case::both_names("jan nov", "jan.novak@example.com")]
#[case::family_name_first("Novák Jan", "jan.novak@example.com")]
#[case::trimmed("  novak ", "jan.novak@example.com")]
#[case::address("N.NOVAK@EX", "jan.novak@example.com")]
#[case::company("lodz", "lucja@example.pl")]
#[case::polish("zolc", "lucja@example.pl")]
#[case::polish_as_written("ŁUCJA ŻÓŁĆ", "lucja@example.pl")]
#[case::sharp_s("GROSS", "jg@xn--bcher-kva.de")]
#[case::sharp_s_as_written("straße", "jg@xn--bcher-kva.de")]
#[case::capital_sharp_s("STRAẞE", "jg@xn--bcher-kva.de")]
#[case::danish("soren aero", "soren@example.dk")]
#[case::greek("ΟΔΥΣΣΕΥΣ", "ioannis@example.gr")]
#[case::greek_final_sigma("οδυσσεύς", "ioannis@example.gr")]
#[case::cyrillic("ФЕДОР ИОВ", "fedor@example.bg")]
#[case::chinese("小明", "wang@example.cn")]
#[case::full_width("full", "full@example.jp")]
#[case::ligature("FIRMA", "full@example.jp")]
#[case::turkish("ISIK", "ipek@example.com.tr")]
#[case::turkish_dotted("ipek", "ipek@example.com.tr")]
#[case::percent_is_literal("50%", "discount@example.com")]
#[case::full_width_percent_is_literal("50％", "discount@example.com")]
#[case::underscore_is_literal("off_", "discount@example.com")]
#[case::backslash_is_literal("now\\", "discount@example.com")]
#[case::nobody_by_wildcards("n%k", "")]
#[case::nobody_by_wildcard("nov_k", "")]
#[case::nobody_across_fields("novák jan.novak", "")]
#[case::nobody("Dvořák", "")]
#[case::hostile("' or ''='", "")]
#[tokio::test]
async fn finds(#[case] term: &str, #[case] email: &str) {
    let service = Service::start().await;
    for [first, last, company, email] in CUSTOMERS {
        let body = json!({ "email": email, "firstName": first, "lastName": last, "companyName": company });
        assert_eq!(service.post_to(CREATE, body).await.status, 200);
        service
            .post_match(json!({ "managerCuRefNo": MANAGER, "customerEmail": email }))
            .await
            .assert_success();
    }
    let answer = service.get_from(LIST, &[("cuRefNo", MANAGER), ("query", term)]).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    let found: Vec<_> =
        answer.body["items"].as_array().unwrap().iter().map(|item| item["email"].as_str().unwrap()).collect();
    assert_eq!(found.join(" "), email);
    assert_eq!(answer.body["itemCount"], found.len());
}

#[tokio::test]
async fn finds_by_the_profile_as_it_is_now() {
    let service = Service::start().await;
    service
        .post_match(json!({ "managerCuRefNo": MANAGER, "customerEmail": "jan@barasek.com" }))
        .await
        .assert_success();
    let count = async || {
        service.get_from(LIST, &[("cuRefNo", MANAGER), ("query", "Baraja")]).await.body["itemCount"].clone()
    };
    assert_eq!(count().await, 0);
    service.post_to(CREATE, json!({ "email": "jan@barasek.com", "companyName": "BARAJA" })).await;
    assert_eq!(count().await, 1);
}

/// What stays prepared is soon planned for no values in particular; the way to the rows depends on them.
#[tokio::test]
async fn is_planned_for_each_term() {
    let service = Service::start().await;
    let mut db = service.pool.acquire().await.unwrap();
    for term in ["Novák", "a"] {
        let term = SearchTerm::parse(term).unwrap();
        matched_customer::search(&mut db, service.organisation, MANAGER, &term, None, 33).await.unwrap();
    }
    let prepared: Vec<String> = sqlx::query_scalar("select statement from pg_prepared_statements")
        .persistent(false)
        .fetch_all(&mut *db)
        .await
        .unwrap();
    assert!(!prepared.iter().any(|statement| statement.contains("search_pattern")), "{prepared:#?}");
}
