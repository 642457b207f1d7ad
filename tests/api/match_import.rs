//! `customer-match match import` (docs/import.md).

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::support::import::{Import, import as import_file, import_stdin};
use crate::support::{CHANGES, CUSTOMER, MANAGER, Service, one_way};

const ALL: &str = "managerCuRefNo,customerCuRefNo,customerEmail,notice";

fn import(service: &Service, csv: impl AsRef<[u8]>) -> Import {
    import_file(&service.database, "match", csv, &[])
}

/// Rows, created, updated, unchanged, reactivated, rejected, new guests.
fn counts(import: &Import) -> [u64; 7] {
    import.counts(["rows", "created", "updated", "unchanged", "reactivated", "rejected", "customersCreated"])
}

#[tokio::test]
async fn matches_by_the_rules_of_the_endpoint() {
    let service = Service::start().await;
    let csv = format!(
        "{ALL}\r\n\
         {MANAGER},{CUSTOMER},,\"first\r\nline\"\r\n\
         {MANAGER},,Guest@Example.com,hello\r\n\
         {CUSTOMER},{MANAGER},ignored@example.com,\r\n\
         {MANAGER},{CUSTOMER},, \r\n"
    );
    let dry = import_file(&service.database, "match", &csv, &["--dry-run"]);
    assert_eq!((service.count("customer").await, service.count("customer_match").await), (2, 0));
    let done = import(&service, &csv);
    assert_eq!((done.code, counts(&done)), (0, [4, 2, 1, 1, 0, 0, 1]), "{done:?}");
    assert_eq!((dry.code, counts(&dry)), (0, counts(&done)), "a dry run reports the same");
    let guest: String =
        sqlx::query_scalar("select cu_ref_no from customer where email = 'guest@example.com'")
            .fetch_one(&service.pool)
            .await
            .unwrap();
    let relations = BTreeSet::from_iter(service.relations().await);
    let of_guest = format!("{} hello", one_way(MANAGER, &guest));
    assert_eq!(relations, BTreeSet::from([format!("{MANAGER}<>{CUSTOMER} first\nline"), of_guest]));

    service
        .execute(
            "update customer_match set deactivated_at = now(), updated_at = now() where notice = 'hello'",
        )
        .await;
    let dry = import_file(&service.database, "match", &csv, &["--dry-run"]);
    let again = import(&service, &csv);
    assert_eq!((again.code, counts(&again)), (0, [4, 0, 0, 3, 1, 0, 0]));
    assert_eq!(counts(&dry), counts(&again));
}

#[tokio::test]
async fn a_file_without_notices_keeps_them() {
    let service = Service::start().await;
    import(&service, format!("{ALL}\n{MANAGER},{CUSTOMER},,kept\n"));
    let done = import_stdin(
        &service.database,
        "match",
        &format!("customerCuRefNo,managerCuRefNo\n{CUSTOMER},{MANAGER}\n"),
    );
    assert_eq!((done.code, counts(&done)), (0, [1, 0, 0, 1, 0, 0, 0]));
    assert_eq!(service.relations().await, [format!("{MANAGER}>{CUSTOMER} kept")]);
}

#[tokio::test]
async fn every_rejected_row_is_reported_with_its_line() {
    let service = Service::start().await;
    service.add_customer("deletedCustomer1", None).await;
    service.execute("update customer set deleted_at = now() where cu_ref_no = 'deletedCustomer1'").await;
    let csv = format!(
        "{ALL}\n\
         {MANAGER},{MANAGER},,\"a\n\n\nb\"\n\
         {MANAGER},,JAN@barasek.com,\n\
         {CUSTOMER},,jan@barasek.com,\n\
         nobodyHasThisOne,{CUSTOMER},,\n\
         {MANAGER},nobodyHasThisOne,jan@barasek.com,\n\
         deletedCustomer1,{CUSTOMER},,\n\
         ,{CUSTOMER},,\n\
         {MANAGER},,,text\n\
         short,{CUSTOMER},,\n\
         {MANAGER},{CUSTOMER},nonsense,\n\
         {MANAGER},{CUSTOMER},,{long}\n\
         {MANAGER},{CUSTOMER},,last\n",
        long = "x".repeat(10_001),
    );
    let dry = import_file(&service.database, "match", &csv, &["--dry-run"]);
    let done = import(&service, &csv);
    assert_eq!((done.code, counts(&done)), (1, [12, 1, 1, 0, 0, 10, 0]));
    insta::assert_json_snapshot!(done.said, @r#"
    [
      "line 2: a customer cannot be matched with itself",
      "line 7: a customer cannot be matched with itself",
      "line 8: customer nobodyHasThisOne does not exist",
      "line 9: customer nobodyHasThisOne does not exist",
      "line 10: customer deletedCustomer1 does not exist",
      "line 11: it has no managerCuRefNo",
      "line 12: it has neither a customerCuRefNo nor a customerEmail",
      "line 13: managerCuRefNo must be exactly 16 letters or digits (A-Z, a-z, 0-9)",
      "line 14: customerEmail must be an e-mail address with an @",
      "line 15: notice must have at most 10,000 characters",
      "error: 10 of 12 row(s) were rejected"
    ]
    "#);
    assert_eq!((dry.code, counts(&dry), dry.said), (1, counts(&done), done.said));
    assert_eq!(service.relations().await, [format!("{MANAGER}>{CUSTOMER} last")]);
}

/// The last row of a pair wins, in whichever direction and by whichever name it is written.
#[tokio::test]
async fn rows_of_one_pair_take_effect_in_their_order() {
    let service = Service::start().await;
    for i in 0..20 {
        service.add_customer(&format!("customer{i:08}"), Some(&format!("c{i}@example.com"))).await;
    }
    let mut csv = format!("{ALL}\n");
    for round in 0..120 {
        for i in 0..20 {
            let row = match round % 3 {
                0 => format!("{MANAGER},customer{i:08},,notice {round}"),
                1 => format!("{MANAGER},,c{i}@example.com,notice {round}"),
                _ => format!("customer{i:08},{MANAGER},,notice {round}"),
            };
            writeln!(csv, "{row}").unwrap();
        }
    }
    let dry = import_file(&service.database, "match", &csv, &["--dry-run"]);
    let done = import(&service, &csv);
    assert_eq!((done.code, counts(&done)), (0, [2_400, 20, 2_380, 0, 0, 0, 0]));
    assert_eq!(counts(&dry), counts(&done));
    let relations = service.relations().await;
    assert_eq!(relations.len(), 20);
    assert!(relations.iter().all(|relation| relation.ends_with(" notice 119")), "{relations:?}");
}

/// A dry run writes no copy of a relation that no row changes.
#[tokio::test]
async fn a_dry_run_reports_the_same_of_stored_relations() {
    let service = Service::start().await;
    for i in 0..7 {
        service.add_customer(&format!("customer{i:08}"), Some(&format!("c{i}@example.com"))).await;
    }
    let mut csv = format!("{ALL}\n");
    for i in 0..6 {
        writeln!(csv, "{MANAGER},customer{i:08},,a").unwrap();
    }
    assert_eq!(counts(&import(&service, csv))[..2], [6, 6]);
    service.delete_customer("customer00000004").await;
    service
        .execute(
            "update customer_match set deactivated_at = updated_at where high_cu_ref_no = 'customer00000005'",
        )
        .await;
    let csv = format!(
        "{ALL}\n\
         {MANAGER},customer00000000,,\n\
         {MANAGER},,c0@example.com,a\n\
         {MANAGER},customer00000001,,a\n\
         {MANAGER},,c1@example.com,b\n\
         {MANAGER},customer00000001,,a\n\
         customer00000002,{MANAGER},,\n\
         customer00000002,{MANAGER},,a\n\
         {MANAGER},customer00000003,,b\n\
         {MANAGER},customer00000004,,a\n\
         {MANAGER},,c4@example.com,a\n\
         {MANAGER},customer00000005,,a\n\
         {MANAGER},customer00000006,,\n"
    );
    let dry = import_file(&service.database, "match", &csv, &["--dry-run"]);
    let done = import(&service, &csv);
    assert_eq!((done.code, counts(&done)), (1, [12, 2, 4, 4, 1, 1, 1]), "{done:?}");
    assert_eq!((dry.code, counts(&dry), dry.said), (1, counts(&done), done.said));
}

#[tokio::test]
async fn a_row_that_the_database_rejects_is_isolated() {
    let service = Service::start().await;
    service.execute("alter table customer_match add constraint no_poison check (notice <> 'poison')").await;
    let mut csv = format!("{ALL}\n");
    for i in 0..50 {
        writeln!(csv, "{MANAGER},,c{i}@example.com,{}", if i == 30 { "poison" } else { "good" }).unwrap();
    }
    let dry = import_file(&service.database, "match", &csv, &["--dry-run"]);
    let done = import(&service, &csv);
    assert_eq!((done.code, counts(&done)), (1, [50, 49, 0, 0, 0, 1, 49]));
    let said = "line 32: the database rejects it: 23514 new row for relation \"customer_match\" violates check constraint \"no_poison\"";
    assert_eq!(done.said.last().unwrap(), "error: 1 of 50 row(s) were rejected");
    assert!(done.said.contains(&said.to_owned()), "{:?}", done.said);
    assert_eq!(
        (counts(&dry), dry.said),
        (counts(&done), vec![said.to_owned(), "error: 1 of 50 row(s) were rejected".to_owned()])
    );
}

/// Writing one match at a time takes three times as long as the import.
#[tokio::test]
async fn a_dry_run_writes_the_matches_of_a_batch_together() {
    let service = Service::start().await;
    service.execute("alter function customer_match_write_one rename to write_one_of_them").await;
    let mut csv =
        format!("{ALL}\n{MANAGER},{MANAGER},,\n{MANAGER},nobodyHasThisOne,,\n{MANAGER},,JAN@barasek.com,\n");
    for i in 0..2_000 {
        writeln!(csv, "{MANAGER},,c{}@example.com,", i % 1_999).unwrap();
    }
    let dry = import_file(&service.database, "match", &csv, &["--dry-run"]);
    assert_eq!((dry.code, counts(&dry)), (1, [2_003, 2_000, 0, 1, 0, 2, 1_999]), "{dry:?}");
}

#[tokio::test]
async fn rejected_rows_are_kept() {
    let service = Service::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rejected.csv");
    let csv = format!(
        "notice,managerCuRefNo,customerCuRefNo\n\"a, \"\"b\"\"\n\",{MANAGER},nobodyHasThisOne\n,{MANAGER},{CUSTOMER}\nc,{CUSTOMER},{CUSTOMER}\n"
    );
    for dry_run in [&["--dry-run"][..], &[]] {
        let more = [&["--rejected", file.to_str().unwrap()], dry_run].concat();
        let done = import_file(&service.database, "match", &csv, &more);
        assert_eq!((done.code, counts(&done)), (1, [3, 1, 0, 0, 0, 2, 0]), "{done:?}");
        let kept = format!(
            "rejectionReason,notice,managerCuRefNo,customerCuRefNo\n\
             line 2: customer nobodyHasThisOne does not exist,\"a, \"\"b\"\"\n\",{MANAGER},nobodyHasThisOne\n\
             line 5: a customer cannot be matched with itself,c,{CUSTOMER},{CUSTOMER}\n"
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), kept);
    }
}

#[tokio::test]
async fn an_invalid_header_is_rejected() {
    let service = Service::start().await;
    let headers = ["customerCuRefNo,notice", "managerCuRefNo,notice", "managerCuRefNo,email"];
    let errors = headers.map(|header| {
        let done = import(&service, format!("{header}\n{MANAGER},{CUSTOMER}\n"));
        assert_eq!((done.code, done.said.len()), (2, 1), "{done:?}");
        done.said[0].split_once(": ").unwrap().1.split_once(": ").unwrap().1.to_owned()
    });
    insta::assert_json_snapshot!(errors, @r#"
    [
      "it lacks the column managerCuRefNo",
      "it lacks the column customerCuRefNo or customerEmail",
      "it has an unknown column \"email\": the columns are managerCuRefNo,customerCuRefNo,customerEmail,role,active,notice, separated by commas; --map names others"
    ]
    "#);
}

#[tokio::test]
async fn its_summary_is_for_people_unless_json_is_asked_for() {
    let service = Service::start().await;
    let csv =
        format!("{ALL}\n{MANAGER},{CUSTOMER},,\n{MANAGER},,guest@example.com,\n{MANAGER},{MANAGER},,\n");
    let done = import_file(&service.database, "match", csv, &["--format", "text"]);
    let summary = done.summary.as_str().unwrap();
    assert!(
        summary.contains("2 created, 0 updated, 0 unchanged, 0 reactivated, 0 ended, 1 new guest(s)"),
        "{done:?}"
    );
}

/// `role` makes the customer a manager too, and `active` ends the relation, or makes it one that has ended.
#[tokio::test]
async fn relations_are_made_as_the_file_has_them() {
    let service = Service::start().await;
    for i in 0..6 {
        service.add_customer(&format!("customer{i:08}"), Some(&format!("c{i}@example.com"))).await;
    }
    let csv = format!(
        "{ALL},role,active\n\
         {MANAGER},customer00000000,,both,both,TRUE\n\
         {MANAGER},customer00000001,,,customer,true\n\
         {MANAGER},customer00000002,,ended,,false\n\
         {MANAGER},,c3@example.com,ended,,False\n\
         {MANAGER},customer00000004,,ended,both,false\n\
         {MANAGER},,unknown@example.com,,,false\n\
         {MANAGER},nobodyHasThisOne,,,,false\n\
         nobodyHasThisOne,{MANAGER},,,both,\n\
         {MANAGER},{MANAGER},,,,false\n\
         {MANAGER},,c5@example.com,,both,\n\
         {MANAGER},customer00000005,,,manager,\n\
         {MANAGER},customer00000005,,,,yes\n"
    );
    let check = |csv: &str, expected: [u64; 8]| {
        let dry = import_file(&service.database, "match", csv, &["--dry-run"]);
        let done = import(&service, csv);
        let [rows, created, updated, unchanged, reactivated, rejected, guests] = counts(&done);
        let ended = done.counts(["ended"])[0];
        assert_eq!(
            [rows, created, updated, unchanged, reactivated, ended, rejected, guests],
            expected,
            "{done:?}"
        );
        assert_eq!(
            (dry.code, counts(&dry), dry.counts(["ended"])[0]),
            (done.code, counts(&done), ended),
            "{dry:?}"
        );
        assert_eq!(dry.said, done.said);
        done.said
    };
    let said = check(&csv, [12, 5, 0, 0, 0, 0, 7, 0]);
    insta::assert_json_snapshot!(said, @r#"
    [
      "line 7: no customer has the e-mail address unknown@example.com",
      "line 8: customer nobodyHasThisOne does not exist",
      "line 9: customer nobodyHasThisOne does not exist",
      "line 10: a customer cannot be matched with itself",
      "line 11: role can be both only for a customerCuRefNo",
      "line 12: role must be customer or both",
      "line 13: active must be true or false",
      "error: 7 of 12 row(s) were rejected"
    ]
    "#);
    let stored = service.relations().await;
    assert_eq!(
        stored,
        [
            format!("{MANAGER}<>customer00000000 both"),
            format!("{MANAGER}>customer00000001"),
            format!("{MANAGER}>customer00000002 ended (inactive)"),
            format!("{MANAGER}>customer00000003 ended (inactive)"),
            format!("{MANAGER}<>customer00000004 ended (inactive)"),
        ]
    );
    let versions = "select string_agg(customer_match::text, ',' order by high_cu_ref_no) from customer_match";
    let before: String = sqlx::query_scalar(versions).fetch_one(&service.pool).await.unwrap();
    check(&csv, [12, 0, 0, 5, 0, 0, 7, 0]);
    let after: String = sqlx::query_scalar(versions).fetch_one(&service.pool).await.unwrap();
    assert_eq!(before, after, "imported again, it changes nothing");

    // Rows of one pair take effect in their order, whatever each of them does.
    let csv = format!(
        "{ALL},role,active\n\
         {MANAGER},customer00000000,,,,false\n\
         {MANAGER},customer00000001,,,both,\n\
         {MANAGER},customer00000001,,last,,false\n\
         {MANAGER},customer00000002,,again,,\n\
         customer00000003,{MANAGER},,other,,false\n\
         {MANAGER},customer00000005,,first,,\n\
         {MANAGER},,c5@example.com,,,false\n\
         customer00000005,{MANAGER},,back,,\n"
    );
    check(&csv, [8, 1, 2, 0, 2, 3, 0, 0]);
    assert_eq!(
        service.relations().await,
        [
            format!("{MANAGER}<>customer00000000 both (inactive)"),
            format!("{MANAGER}<>customer00000001 last (inactive)"),
            format!("{MANAGER}>customer00000002 again"),
            format!("{MANAGER}<>customer00000003 other (inactive)"),
            format!("{MANAGER}<>customer00000004 ended (inactive)"),
            format!("{MANAGER}<>customer00000005 back"),
        ]
    );
}

/// Else a client that follows the changes would take the relation for active for ever.
#[tokio::test]
async fn ended_relations_are_in_the_feed_of_changes() {
    let service = Service::start().await;
    let changes = async |cursor: Option<&str>| {
        // Until it is shown: the transactions of other tests hold it back.
        let parameters = [("wait", "60")].into_iter().chain(cursor.map(|cursor| ("cursor", cursor)));
        let answer = service.get_from(CHANGES, &Vec::from_iter(parameters)).await;
        let active: Vec<_> =
            answer.body["items"].as_array().unwrap().iter().map(|item| item["active"].clone()).collect();
        (active, answer.body["nextCursor"].as_str().unwrap().to_owned())
    };
    import(&service, format!("{ALL}\n{MANAGER},{CUSTOMER},,\n"));
    let (active, cursor) = changes(None).await;
    assert_eq!(active, [true]);
    import(&service, format!("{ALL},active\n{MANAGER},{CUSTOMER},,,false\n"));
    assert_eq!(changes(Some(&cursor)).await.0, [false]);
}

#[tokio::test]
async fn an_ended_row_that_the_database_rejects_is_isolated() {
    let service = Service::start().await;
    service.execute("alter table customer_match add constraint no_poison check (notice <> 'poison')").await;
    let mut csv = format!("{ALL},active\n");
    for i in 0..20 {
        service.add_customer(&format!("customer{i:08}"), None).await;
        writeln!(csv, "{MANAGER},customer{i:08},,{},false", if i == 13 { "poison" } else { "good" }).unwrap();
    }
    let done = import(&service, &csv);
    assert_eq!((done.code, counts(&done)), (1, [20, 19, 0, 0, 0, 1, 0]));
    let said = "line 15: the database rejects it: new row for relation \"customer_match\" violates check constraint \"no_poison\"";
    assert_eq!(done.said, [said, "error: 1 of 20 row(s) were rejected"]);
}
