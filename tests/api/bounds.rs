//! What clients can make the server keep.

use rstest::rstest;
use serde_json::Value;

use crate::support::{LIST, MANAGER, Service};

#[rstest]
#[case::all("")]
#[case::filtered("example")]
#[tokio::test]
async fn a_page_ends_at_a_megabyte_of_text(#[case] filter: &str) {
    let service = Service::start().await;
    service.add_a_list_of_long_notices().await;
    walk(&service, filter, &service.list_of_manager("true").await, 250).await;
}

/// The filters of long lists.
#[rstest]
#[case::by_the_index("at qx", "company_name = 'At Qx'")]
#[case::by_walking("qx", "company_name = 'At Qx'")]
#[tokio::test]
async fn a_page_of_a_long_list_ends_at_a_megabyte_of_text(#[case] filter: &str, #[case] condition: &str) {
    let service = Service::start_configured(&["--filter-timeout", "4s"]).await;
    service.add_a_long_list().await;
    let lengthen = "update customer_match set notice = repeat('\u{11}', 10000) from customer c
                    where c.company_name = 'At Qx' and c.cu_ref_no in (low_cu_ref_no, high_cu_ref_no)";
    service.execute(lengthen).await;
    walk(&service, filter, &service.list_of_manager(condition).await, 17).await;
}

/// Reads all pages. Each relation is on one of them, and none is much larger than a megabyte.
async fn walk(service: &Service, filter: &str, expected: &[String], most: usize) {
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let parameters =
            [("cuRefNo", MANAGER), ("limit", "500"), ("query", filter), ("cursor", cursor.as_str())];
        let page = service.get_from(LIST, &parameters).await;
        assert_eq!(page.status, 200, "{:#}", page.body);
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= most);
        assert!(page.body.to_string().len() < 1_200_000, "{}", page.body.to_string().len());
        assert!(items.iter().all(|item| item["notice"].as_str().unwrap().chars().count() == 10_000));
        seen.extend(items.iter().map(|item| item["cuRefNo"].as_str().unwrap().to_owned()));
        match &page.body["nextCursor"] {
            Value::String(next) => cursor.clone_from(next),
            _ => break,
        }
    }
    assert_eq!(seen, expected);
}
