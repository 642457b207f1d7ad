//! What operators look at: how much there is, a list, a relation. Organisations are named by id or by name.

use serde_json::json;

use crate::support::binary::{on, run, run_both, run_json, run_refused};
use crate::support::import::file_of;
use crate::support::terminal::{WIDTH, run_on_terminal};
use crate::support::{CUSTOMER, MANAGER, Service, UNMATCH};

const OTHER: &str = "Other0000000001x";

/// Two organisations; the first one's manager has two active relations and one that has ended.
async fn service() -> Service {
    let service = Service::start().await;
    service.add_organisation("Second, of no one").await;
    service.add_customer(OTHER, Some("jana@example.com")).await;
    service.add_customer("Ended0000000001x", None).await;
    for (customer, notice) in [(CUSTOMER, "two\nlines"), (OTHER, ""), ("Ended0000000001x", "")] {
        let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": customer, "notice": notice });
        service.post_match(pair).await.assert_success();
    }
    let ended = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": "Ended0000000001x" });
    service.post_to(UNMATCH, ended).await.assert_success();
    service
}

#[tokio::test]
async fn an_organisation_may_be_named() {
    let service = service().await;
    let lists = ["Acme", "1"].map(|organisation| {
        run_json(on(&service.database, &["key", "list", "--organisation", organisation, "--format", "json"]))
    });
    assert_eq!(lists[0], lists[1]);
    let mut by_variable = on(&service.database, &["key", "create", "--kind", "dev"]);
    by_variable.env("CUSTOMER_MATCH_ORGANISATION", "Second, of no one");
    run(by_variable);
    assert_eq!(service.count("api_key").await, 1, "it is the other one's");
    let file = file_of("managerCuRefNo,customerCuRefNo\n");
    let unknown: [&[&str]; 13] = [
        &["customer", "create"],
        &["customer", "delete", CUSTOMER, "--reason", "test", "--yes"],
        &["customer", "merge", CUSTOMER, MANAGER, "--dry-run"],
        &["customer", "erase", CUSTOMER, "--dry-run"],
        &["customer", "list"],
        &["customer", "show", CUSTOMER],
        &["customer", "update", CUSTOMER, "--first-name", "Jan"],
        &["customer", "export"],
        &["key", "list"],
        &["key", "create", "--kind", "dev"],
        &["match", "list", MANAGER],
        &["match", "show", MANAGER, CUSTOMER],
        &["match", "import", file.path().to_str().unwrap()],
    ];
    for command in unknown {
        for (organisation, quoted) in [("Acme2", "\"Acme2\""), ("99", "99")] {
            let refused =
                run_refused(on(&service.database, &[command, &["--organisation", organisation]].concat()));
            let expected =
                format!("there is no organisation {quoted}: `customer-match organisation list` shows");
            assert!(refused.contains(&expected), "{refused}");
        }
    }
}

#[tokio::test]
async fn stats_count_what_there_is() {
    let service = service().await;
    service.delete_customer(OTHER).await;
    service.execute("update api_key set active = false where organisation_id = 2").await;
    let stats = |arguments: &[&str]| on(&service.database, &[&["stats"], arguments].concat());
    let mut counted = run_json(stats(&["--format", "json", "--largest", "1"]));
    assert!(counted["databaseBytes"].take().as_i64().unwrap() > 1_000_000);
    let expected = json!({
        "organisations": [
            { "id": 1, "name": "Acme", "customers": 3, "relations": 1, "endedRelations": 2, "matchesInLastMinute": 3, "keys": 1 },
            { "id": 2, "name": "Second, of no one", "customers": 0, "relations": 0, "endedRelations": 0, "matchesInLastMinute": 0, "keys": 0 },
        ],
        "largestLists": [{ "organisationId": 1, "cuRefNo": MANAGER, "relations": 1 }],
        "databaseBytes": null,
    });
    assert_eq!(counted, expected);
    service.execute("update customer_match set created_at = now() - interval '1 h', matched_at = now() - interval '1 h'").await;
    let text = run(stats(&[]));
    let acme = text.lines().find(|line| line.contains("Acme")).unwrap();
    assert_eq!(acme.split_whitespace().collect::<Vec<_>>(), ["1", "Acme", "3", "1", "2", "0", "1"]);
    let (status, screen) = run_on_terminal(stats(&[]), "");
    assert!(status.success() && screen.lines().all(|line| line.chars().count() <= WIDTH), "{screen}");
}

#[tokio::test]
async fn the_relations_of_a_customer_are_listed() {
    let service = service().await;
    let list = |arguments: &[&str]| {
        on(&service.database, &[&["match", "list", MANAGER, "--organisation", "Acme"], arguments].concat())
    };
    let listed = run_json(list(&["--format", "json"]));
    let api = service.get_from(crate::support::LIST, &[("cuRefNo", MANAGER)]).await;
    assert_eq!((&listed["items"], &listed["more"]), (&api.body["items"], &json!(false)));
    let text = run(list(&[]));
    let rows: Vec<_> = text.lines().collect();
    assert_eq!(rows.len(), 3, "a header and two rows of one line each: {text}");
    assert!(rows[2].contains(CUSTOMER) && rows[2].ends_with("two lines"), "{text}");
    let filtered = run_json(list(&["--format", "json", "--query", "JÁNA"]));
    assert_eq!(filtered["items"].as_array().unwrap().len(), 1);
    let (rows, hint) = run_both(list(&["--limit", "1"]));
    assert_eq!((rows.lines().count(), hint.as_str()), (2, "There are more: --limit lists them.\n"));
    let unknown = on(&service.database, &["match", "list", "Unknown000000001", "--organisation", "1"]);
    assert_eq!(run_refused(unknown), "error: organisation 1 has no customer Unknown000000001\n");
}

#[tokio::test]
async fn a_long_list_is_read_page_by_page() {
    let service = Service::start().await;
    service.add_a_list_of_long_notices().await;
    let list = ["match", "list", MANAGER, "--organisation", "1", "--limit", "1000", "--format", "json"];
    let listed = run_json(on(&service.database, &list));
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["more"]), (250, &json!(false)));
}

#[tokio::test]
async fn a_relation_is_shown_from_either_side() {
    let service = service().await;
    let show = |a: &str, b: &str, more: &[&str]| {
        on(&service.database, &[&["match", "show", a, b, "--organisation", "1"], more].concat())
    };
    let shown = run_json(show(MANAGER, CUSTOMER, &["--format", "json"]));
    assert_eq!(
        (&shown["role"], &shown["notice"], &shown["active"]),
        (&json!("customer"), &json!("two\nlines"), &json!(true))
    );
    let other_side = run_json(show(CUSTOMER, MANAGER, &["--format", "json"]));
    assert_eq!((&other_side["role"], &other_side["version"]), (&json!("manager"), &shown["version"]));
    let ended = run(show(MANAGER, "Ended0000000001x", &[]));
    assert!(ended.contains("ended") && !ended.contains("never"), "{ended}");
    let none = run_refused(show(CUSTOMER, OTHER, &[]));
    assert_eq!(none, format!("error: organisation 1 has no relation of {CUSTOMER} and {OTHER}\n"));
}
