//! The filter of the list: a part of a name, a company or an address, whatever the case and the diacritics (contract §2).

use customer_match::db::Layout;
use regex::Regex;
use rstest::rstest;
use serde_json::json;

use crate::matched_customer_list::walk;
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
    ["Conan", "O’Brien–Smith", "", "conan@example.ie"],
    ["ӘЛИӘ", "ҚҰРМАНҒАЛИЕВА", "", "aliya@example.kz"],
    ["ƏLİYƏ", "Məmmədli", "", "aliye@example.az"],
    ["გიორგი", "ბერიძე", "", "giorgi@example.ge"],
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
#[case::typewriter_apostrophe("O'BRIEN", "conan@example.ie")]
#[case::typographic_apostrophe("o’brien", "conan@example.ie")]
#[case::acute_for_an_apostrophe("o´brien", "conan@example.ie")]
#[case::grave_for_an_apostrophe("o`brien", "conan@example.ie")]
#[case::hyphen_for_a_dash("brien-smith", "conan@example.ie")]
#[case::minus_for_a_dash("BRIEN−SMITH", "conan@example.ie")]
#[case::kazakh("әлия", "")]
#[case::kazakh_in_lower_case("әлиә құрманғ", "aliya@example.kz")]
#[case::azerbaijani("əliyə MƏMMƏD", "aliye@example.az")]
#[case::georgian_capitals("ᲒᲘᲝᲠᲒᲘ ᲑᲔᲠ", "giorgi@example.ge")]
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

async fn folded(service: &Service, texts: &[String]) -> Vec<String> {
    let fold = "select search_fold(text) from unnest($1::text[]) with ordinality as _ (text, position) order by position";
    sqlx::query_scalar(fold).bind(texts).fetch_all(&service.pool).await.unwrap()
}

/// Against Unicode's own table, which Rust has.
#[tokio::test]
async fn the_case_of_every_letter_is_folded() {
    let service = Service::start().await;
    let of_one = |mut mapped: Vec<char>| if mapped.len() == 1 { mapped.pop() } else { None };
    let pairs: Vec<_> = ('\u{1}'..=char::MAX)
        .flat_map(|c| [(c, of_one(c.to_lowercase().collect())), (c, of_one(c.to_uppercase().collect()))])
        .filter_map(|(c, other)| other.filter(|other| *other != c).map(|other| (c, other)))
        // A mark below a Greek vowel, which is removed, and a letter of its own in upper case.
        .filter(|(c, _)| *c != '\u{345}')
        .collect();
    assert!(pairs.len() > 2_800, "{}", pairs.len());
    let texts =
        |of: fn(&(char, char)) -> char| pairs.iter().map(|pair| of(pair).to_string()).collect::<Vec<_>>();
    let (given, others) = (texts(|pair| pair.0), texts(|pair| pair.1));
    let (given, others) = (folded(&service, &given).await, folded(&service, &others).await);
    let different: Vec<_> =
        pairs.iter().zip(given.iter().zip(&others)).filter(|(_, (a, b))| a != b).collect();
    assert!(different.is_empty(), "{different:?}");
}

#[tokio::test]
async fn all_dashes_and_apostrophes_are_one() {
    let service = Service::start().await;
    let dash = Regex::new(r"^[\p{Pd}\u{2212}\u{2043}]$").unwrap();
    let dashes: Vec<_> = ('-'..=char::MAX).map(|c| c.to_string()).filter(|c| dash.is_match(c)).collect();
    assert!(dashes.len() > 25);
    for (dash, folded) in dashes.iter().zip(folded(&service, &dashes).await) {
        assert_eq!(folded, "-", "{dash} {:?}", dash.escape_unicode());
    }
    let apostrophes = "'`´‘’‛′ʹʻʼʽʾʿ＇ꞌ՚".chars().map(String::from).collect::<Vec<_>>();
    assert_eq!(folded(&service, &apostrophes).await.concat(), "'".repeat(apostrophes.len()));
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

/// Longer than what one call examines, and than what one call counts. The index has time on a busy machine too.
async fn with_a_long_list() -> Service {
    let service = Service::start_configured(&["--filter-timeout", "4s"]).await;
    service.add_a_long_list().await;
    service
}

#[rstest]
#[case::pages_shorter_than_their_limit("500", 3)]
#[case::full_pages("20", 9)]
#[tokio::test]
async fn a_walk_with_two_letters_over_a_long_list_finds_each_match_once(
    #[case] limit: &str,
    #[case] at_most: usize,
) {
    let service = with_a_long_list().await;
    let parameters = [("cuRefNo", MANAGER), ("query", "qx"), ("limit", limit)];
    let first = service.get_from(LIST, &parameters).await;
    assert_eq!(first.body["itemCountExact"], false, "{:#}", first.body);
    let pages = walk(&service, &parameters, async || {}).await;
    assert_eq!(pages.concat(), service.list_of_manager("company_name = 'At Qx'").await);
    assert!(pages.len() <= at_most, "{} pages", pages.len());
}

#[tokio::test]
async fn a_rare_term_is_exact_in_a_long_list() {
    let service = with_a_long_list().await;
    let parameters = [("cuRefNo", MANAGER), ("query", "rareman"), ("limit", "2")];
    let first = service.get_from(LIST, &parameters).await;
    assert_eq!((&first.body["itemCount"], &first.body["itemCountExact"]), (&json!(3), &json!(true)));
    let pages = walk(&service, &parameters, async || {}).await;
    assert_eq!(pages.len(), 2);
    assert_eq!(pages.concat(), service.list_of_manager("last_name = 'Rareman'").await);
}

/// A long list and an index that takes longer than the filter timeout, as when the sample of customers takes a frequent term for a
/// rare one.
pub async fn with_a_slow_index() -> Service {
    let service = Service::start_configured(&["--filter-timeout", "10ms"]).await;
    service.add_a_long_list().await;
    let slow = match service.database.layout() {
        Layout::Single => {
            "alter function search_pattern(text) rename to quick_search_pattern;
             create function search_pattern(term text) returns text language sql immutable strict as $$
                 select quick_search_pattern(term)
                 from pg_sleep(case current_setting('statement_timeout') when '10ms' then 1 else 0 end)
             $$"
        }
        // The worker does not know the timeout, and only what looks into the index calls this.
        Layout::Distributed => {
            "alter function customer_search(int8, text, int8) rename to quick_customer_search;
             create function customer_search(organisation int8, pattern text, most int8) returns setof text
             language plpgsql stable as $$
             begin
                 perform pg_sleep(1);
                 return query select quick_customer_search(organisation, pattern, most);
             end $$"
        }
    };
    service.execute(slow).await;
    service
}

#[tokio::test]
async fn a_list_is_walked_when_the_index_takes_too_long() {
    let service = with_a_slow_index().await;
    let parameters = [("cuRefNo", MANAGER), ("query", "rareman"), ("limit", "500")];
    let first = service.get_from(LIST, &parameters).await;
    assert_eq!((first.status, &first.body["itemCountExact"]), (200, &json!(false)));
    let pages = walk(&service, &parameters, async || {}).await;
    assert_eq!(pages.concat(), service.list_of_manager("last_name = 'Rareman'").await);
}

/// In the index of trigrams it would be all customers.
#[tokio::test]
async fn a_frequent_term_fills_its_page_and_is_not_counted() {
    let service = with_a_long_list().await;
    for term in ["example.com", "com example"] {
        let answer = service.get_from(LIST, &[("cuRefNo", MANAGER), ("query", term)]).await;
        assert_eq!(answer.body["itemCountExact"], false, "{term}");
    }
    let answer = service.get_from(LIST, &[("cuRefNo", MANAGER), ("query", "example.com")]).await;
    assert_eq!(answer.body["items"].as_array().unwrap().len(), 32);
}

#[tokio::test]
async fn a_list_of_nobody_is_not_found_with_a_filter_either() {
    let service = Service::start().await;
    let unknown = service.get_from(LIST, &[("cuRefNo", "0000000000000000"), ("query", "a")]).await;
    unknown.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    let identity = "0123456789abcdefghijABCDEFGHIJKL";
    let logged_out = service.get_from(LIST, &[("identityId", identity), ("query", "a")]).await;
    logged_out.assert_error(401, "INTERNAL_USER_MUST_BE_AUTHORIZED");
}
