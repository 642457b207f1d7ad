//! `customer-match customer erase`: nothing personal is left of a deleted customer (GDPR, Article 17).

use std::collections::BTreeSet;
use std::process::Command;

use axum::body::Body;
use customer_match::db::Layout;
use serde_json::{Value, json};

use crate::support::binary::{on, run, run_json, run_refused};
use crate::support::{CREATE, MANAGER, MATCH, Service, UNMATCH, UPDATE, json_request, uri};

/// Values of the customer in all columns and all receipts, and nowhere else.
const NEEDLES: [&str; 11] = [
    "needle.old@example.com",
    "needle.new@example.com",
    "NeedleFirst",
    "NeedleLast",
    "NeedleCompany",
    "NeedlePhone",
    "NeedleRegistration",
    "NeedleTax",
    "2001:db8:eed1:e::1",
    "NeedleReason",
    "Needle notice",
];

/// A customer with all that can be stored of one, and another one that it is related to. Returns its reference.
async fn with_a_customer() -> (Service, String) {
    let service = Service::start().await;
    let body = json!({
        "email": NEEDLES[0], "firstName": "NeedleFirst", "lastName": "NeedleLast", "companyName": "NeedleCompany",
        "phone": "NeedlePhone", "companyRegistrationNumber": "NeedleRegistration", "taxIdentificationNumber": "NeedleTax",
        "customerRealIp": "2001:db8:eed1:e::1",
    });
    let created = service.post_to(CREATE, body).await;
    let cu_ref_no = created.body["cuRefNo"].as_str().unwrap().to_owned();
    for customer in [MANAGER, "5CmsaVNgAQqRqoen"] {
        let relation =
            json!({ "managerCuRefNo": customer, "customerEmail": NEEDLES[0], "notice": "Needle notice" });
        let request = json_request(&uri(MATCH, &service.key, &[])).header("prefer", "return=representation");
        let matched = service.call(request.body(Body::from(relation.to_string())).unwrap()).await;
        assert_eq!(matched.body["relation"]["customerCuRefNo"], *cu_ref_no, "{:#}", matched.body);
    }
    let ended = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": cu_ref_no });
    service.post_to(UNMATCH, ended).await.assert_success();
    service.log_in(NEEDLES[0]).await;
    let renamed = service.post_to(UPDATE, json!({ "cuRefNo": cu_ref_no, "newEmail": NEEDLES[1] })).await;
    assert_eq!(renamed.status, 200);
    // That of a connection which has been closed since, as a server that was restarted leaves one.
    let old = "insert into write_receipt (writer_id, batch_number, others)
               values (1, 1, '[{\"done\": {\"email\": \"needle.old@example.com\"}}, {\"failed\": \"23514 needle.old@example.com\"}]')";
    service.execute(old).await;
    (service, cu_ref_no)
}

fn erase(service: &Service, cu_ref_no: &str, more: &[&str]) -> Command {
    on(&service.database, &[&["customer", "erase", cu_ref_no, "--organisation", "1"], more].concat())
}

fn delete(service: &Service, cu_ref_no: &str) {
    let delete =
        ["customer", "delete", cu_ref_no, "--organisation", "1", "--reason", "NeedleReason", "--yes"];
    run(on(&service.database, &delete));
}

/// As if all that has happened had happened an hour ago.
async fn let_an_hour_pass(service: &Service) {
    service
        .execute(
            "update customer set created_at = now() - interval '1 hour', updated_at = now() - interval '1 hour';
             update customer set deleted_at = now() - interval '1 hour' where deleted_at is not null;
             update write_receipt set written_at = now() - interval '1 hour'",
        )
        .await;
}

/// What `pg_dump` writes of all rows.
async fn dump(service: &Service) -> String {
    let directory: String = sqlx::query_scalar("select setting from pg_config() where name = 'BINDIR'")
        .fetch_one(&service.pool)
        .await
        .unwrap();
    let options = service.database.options();
    let host = options.get_socket().map_or(options.get_host(), |socket| socket.to_str().unwrap());
    let mut dump = Command::new(format!("{directory}/pg_dump"));
    dump.args(["--data-only", "--inserts", "--host", host, "--port", &options.get_port().to_string()]);
    let output = dump.args(["--username", options.get_username(), service.database.name()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What Postgres' files have of the tables, on a cluster those of the shards.
async fn files(service: &Service) -> String {
    let (checkpoint, read) = match service.database.layout() {
        Layout::Single => (
            "checkpoint",
            "select encode(pg_read_binary_file(pg_relation_filepath(name)), 'escape')
             from unnest(array['customer', 'customer_match', 'write_receipt']) as name",
        ),
        Layout::Distributed => (
            "select run_command_on_all_nodes('checkpoint')",
            "select case when success then result end
             from unnest(array['customer', 'customer_match', 'write_receipt']) as name,
                  run_command_on_shards(
                      name::regclass, $$select encode(pg_read_binary_file(pg_relation_filepath('%s')), 'escape')$$
                  )",
        ),
    };
    service.execute(checkpoint).await;
    let files: Vec<String> = sqlx::query_scalar(read).fetch_all(&service.pool).await.unwrap();
    files.concat()
}

fn found_in(dump: &str) -> Vec<&'static str> {
    NEEDLES.into_iter().filter(|needle| dump.contains(needle)).collect()
}

#[tokio::test]
async fn no_value_is_found_in_a_dump() {
    let (service, cu_ref_no) = with_a_customer().await;
    delete(&service, &cu_ref_no);
    let_an_hour_pass(&service).await;
    assert_ne!(found_in(&files(&service).await), [""; 0]);
    let before = dump(&service).await;
    assert_eq!(found_in(&before), NEEDLES);
    let erased = run_json(erase(&service, &cu_ref_no, &["--notices", "--yes", "--format", "json"]));
    assert_eq!(
        erased,
        json!({
            "dryRun": false, "cuRefNo": cu_ref_no, "notices": 2, "sessions": 1,
            "fields": [
                "email", "firstName", "lastName", "companyName", "phone", "companyRegistrationNumber", "taxIdentificationNumber",
                "customerRealIp", "deletionReason",
            ],
        })
    );
    let after = dump(&service).await;
    assert_eq!(found_in(&after), [""; 0]);
    // The reference and the pairs stay, and so does everything of others.
    assert!(after.contains(&cu_ref_no) && after.contains("jan@barasek.com"));
    let pairs = service.relations().await;
    assert_eq!(pairs.len(), 2);
    assert!(pairs.iter().all(|pair| pair.contains(&cu_ref_no) && pair.ends_with("(inactive)")), "{pairs:?}");

    // As docs/customers.md says, Postgres' files are without it after this, once no transaction is older.
    let mut found = vec![""];
    while !found.is_empty() {
        for table in ["customer", "customer_match", "write_receipt"] {
            service.execute(&format!("vacuum full {table}")).await;
        }
        found = found_in(&files(&service).await);
        if service.database.layout() == Layout::Single {
            assert_eq!(found, [""; 0]);
        }
        // A cluster's daemon may have an older one.
    }
}

#[tokio::test]
async fn notices_stay_unless_asked_for_and_can_be_erased_later() {
    let (service, cu_ref_no) = with_a_customer().await;
    delete(&service, &cu_ref_no);
    let_an_hour_pass(&service).await;
    let json = ["--yes", "--format", "json"];
    let erased = run_json(erase(&service, &cu_ref_no, &json));
    assert_eq!((&erased["notices"], erased["fields"].as_array().unwrap().len()), (&json!(0), 9));
    assert_eq!(found_in(&dump(&service).await), ["Needle notice"]);
    let versions = "select array_agg(version order by low_cu_ref_no, high_cu_ref_no) from customer_match";
    let versions =
        async || sqlx::query_scalar::<_, Vec<i64>>(versions).fetch_one(&service.pool).await.unwrap();
    let before = versions().await;
    let erased = run_json(erase(&service, &cu_ref_no, &[&["--notices"], &json[..]].concat()));
    assert_eq!((&erased["notices"], &erased["fields"]), (&json!(2), &json!([])));
    assert_eq!(found_in(&dump(&service).await), [""; 0]);
    assert_eq!(versions().await, before.iter().map(|version| version + 1).collect::<Vec<_>>());
    let show = ["customer", "show", &cu_ref_no, "--organisation", "1", "--format", "json"];
    assert!(run_json(on(&service.database, &show))["erasedAt"].is_string());
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let (service, cu_ref_no) = with_a_customer().await;
    delete(&service, &cu_ref_no);
    let_an_hour_pass(&service).await;
    assert_ne!(found_in(&files(&service).await), [""; 0]);
    let before = dump(&service).await;
    let told = run(erase(&service, &cu_ref_no, &["--notices", "--dry-run"]));
    assert_eq!(
        told,
        format!(
            "Of customer {cu_ref_no} would be erased: email, firstName, lastName, companyName, phone, companyRegistrationNumber, \
             taxIdentificationNumber, customerRealIp, deletionReason; 2 notice(s), 1 session(s).\n"
        )
    );
    // Servers and API keys note in theirs when they were last seen.
    let tables = ["INSERT INTO public.customer", "INSERT INTO public.write_receipt"];
    let rows = |dump: &str| -> BTreeSet<_> {
        let lines = dump.lines().filter(|line| tables.iter().any(|table| line.starts_with(table)));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(rows(&dump(&service).await), rows(&before));
}

/// A server that lost the answer of a batch reads it in the receipt.
#[tokio::test]
async fn a_receipt_that_may_be_needed_is_not_touched() {
    let (service, cu_ref_no) = with_a_customer().await;
    delete(&service, &cu_ref_no);
    let refused = run_refused(erase(&service, &cu_ref_no, &["--yes"]));
    let start =
        format!("error: customer {cu_ref_no} was deleted a moment ago, and servers may still read answers");
    assert!(refused.starts_with(&start), "{refused}");
    let_an_hour_pass(&service).await;
    service
        .execute(
            "insert into write_receipt (writer_id, batch_number, others) values (2, 1, '[{\"done\": true}]')",
        )
        .await;
    run(erase(&service, &cu_ref_no, &["--yes"]));
    let young = "select writer_id from write_receipt where others is not null";
    let young: Vec<i64> = sqlx::query_scalar(young).fetch_all(&service.pool).await.unwrap();
    assert_eq!(young, [2]);
    // The writer of the older one goes on.
    let body = json!({ "cuRefNo": MANAGER, "phone": "777" });
    assert_eq!(service.post_to(UPDATE, body).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_erased_is_told_in_one_line() {
    let service = Service::start().await;
    let (other, _) = service.add_organisation("Other").await;
    service.add_customer_of(other, "customerOfOther1", None).await;
    for cu_ref_no in ["nobodyHasThisOne", "customerOfOther1"] {
        let refused = run_refused(erase(&service, cu_ref_no, &["--yes"]));
        assert_eq!(refused, format!("error: organisation 1 has no customer {cu_ref_no}\n"));
    }
    assert_eq!(
        run_refused(erase(&service, MANAGER, &["--yes"])),
        format!(
            "error: customer {MANAGER} is not deleted: `customer-match customer delete` does that first\n"
        )
    );
    assert_eq!(
        run_refused(erase(&service, MANAGER, &[])),
        "error: this cannot be undone, and there is no terminal for a confirmation: pass --yes to confirm\n"
    );
}

/// The reference stays taken, the e-mail address is free, and no write reaches the customer.
#[tokio::test]
async fn an_erased_customer_is_deleted_for_ever() {
    let (service, cu_ref_no) = with_a_customer().await;
    delete(&service, &cu_ref_no);
    let_an_hour_pass(&service).await;
    run(erase(&service, &cu_ref_no, &["--yes"]));
    let again = service.post_to(CREATE, json!({ "email": NEEDLES[1] })).await;
    assert_eq!((&again.body["created"], &again.body["firstName"]), (&json!(true), &Value::Null));
    assert_ne!(again.body["cuRefNo"], *cu_ref_no);
    for (path, body) in [
        (UPDATE, json!({ "cuRefNo": cu_ref_no, "phone": "1" })),
        (MATCH, json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": cu_ref_no })),
    ] {
        service.post_to(path, body).await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    }
    let create = ["customer", "create", "--organisation", "1", "--cu-ref-no", &cu_ref_no];
    assert!(run_refused(on(&service.database, &create)).contains("has a customer"));
}
