//! `customer-match customer import` (docs/import.md).

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::binary::on;
use crate::support::import::{Import, file_of, import as import_file, import_stdin};
use crate::support::{CUSTOMER, MANAGER, Service};

const ALL: &str = "email,cuRefNo,firstName,lastName,companyName,phone";

fn import(service: &Service, csv: impl AsRef<[u8]>) -> Import {
    import_file(&service.database, "customer", csv, &[])
}

/// Rows, created, updated, unchanged, rejected.
fn counts(import: &Import) -> [u64; 5] {
    import.counts(["rows", "created", "updated", "unchanged", "rejected"])
}

/// The customers besides the two of the service, in the order of their addresses; a random reference as `*`.
async fn customers(service: &Service) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws('|', coalesce(email, '-'), cu_ref_no, first_name, last_name, company_name, phone)
         from customer where cu_ref_no not in ($1, $2) order by email nulls last, cu_ref_no",
    )
    .bind(MANAGER)
    .bind(CUSTOMER)
    .fetch_all(&service.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn creates_customers_from_any_order_of_columns() {
    let service = Service::start().await;
    let csv = "phone,cuRefNo,email,firstName,companyName,lastName\r\n\
               +420 1,customer00000001, A@BÜCHER.de ,Anna,\"Acme, Inc.\",Nová\r\n\
               ,customer00000002,,,,\r\n\
               ,,b@example.com,\"B \"\"b\"\"\",,\r\n";
    let done = import(&service, format!("\u{feff}{csv}"));
    assert_eq!((done.code, counts(&done), done.said.len()), (0, [3, 3, 0, 0, 0], 0), "{done:?}");
    assert_eq!(done.summary["dryRun"], false);
    let stored = customers(&service).await;
    assert_eq!(stored[0], "a@xn--bcher-kva.de|customer00000001|Anna|Nová|Acme, Inc.|+420 1");
    assert!(stored[1].starts_with("b@example.com|") && stored[1].ends_with("|B \"b\""), "{stored:?}");
    assert_eq!(stored[2..], ["-|customer00000002"]);

    let again = import(&service, csv);
    assert_eq!((again.code, counts(&again)), (0, [3, 0, 0, 3, 0]));
    assert_eq!(customers(&service).await, stored);
}

#[tokio::test]
async fn reads_the_standard_input() {
    let service = Service::start().await;
    let done = import_stdin(&service.database, "customer", "email\na@example.com\nnonsense\n");
    assert_eq!((done.code, counts(&done)), (1, [2, 1, 0, 0, 1]));
    assert_eq!(
        done.said,
        ["line 3: email must be an e-mail address with an @", "error: 1 of 2 row(s) were rejected"]
    );
}

#[tokio::test]
async fn fills_what_is_empty_and_overwrites_nothing() {
    let service = Service::start().await;
    service.add_customer("customer00000001", None).await;
    service.add_customer("customer00000002", Some("b@example.com")).await;
    service.execute("update customer set first_name = 'Old' where cu_ref_no like 'customer%'").await;
    let csv = format!(
        "{ALL}\n\
         a@example.com,customer00000001,New,Nová,,\n\
         B@example.com,,New,,Acme,\n\
         b@example.com,customer00000002,,Bílý,,1\n\
         ,customer00000002,,Other,Other,2\n"
    );
    let done = import(&service, &csv);
    assert_eq!((done.code, counts(&done)), (0, [4, 0, 3, 1, 0]), "{done:?}");
    let stored = customers(&service).await;
    assert_eq!(
        stored,
        ["a@example.com|customer00000001|Old|Nová", "b@example.com|customer00000002|Old|Bílý|Acme|1"]
    );
    assert_eq!(counts(&import(&service, &csv)), [4, 0, 0, 4, 0]);
}

#[tokio::test]
async fn the_same_customer_twice_is_one() {
    let service = Service::start().await;
    let csv = format!(
        "{ALL}\n\
         a@example.com,,,,,\n\
         A@EXAMPLE.com,,Anna,,,\n\
         a@example.com,,Other,Nová,,\n\
         ,customer00000001,,,,\n\
         b@example.com,customer00000001,,,,\n\
         b@example.com,,Bob,,,\n"
    );
    let done = import(&service, &csv);
    assert_eq!((done.code, counts(&done)), (0, [6, 2, 4, 0, 0]), "{done:?}");
    let stored = customers(&service).await;
    assert!(stored[0].ends_with("|Anna|Nová"), "{stored:?}");
    assert_eq!(stored[1..], ["b@example.com|customer00000001|Bob"]);
}

#[tokio::test]
async fn rejects_contradictions_with_a_reason() {
    let service = Service::start().await;
    service.add_customer("customer00000001", Some("a@example.com")).await;
    service.add_customer("customer00000002", None).await;
    service.add_customer("deletedCustomer1", Some("gone@example.com")).await;
    service.execute("update customer set deleted_at = now() where cu_ref_no = 'deletedCustomer1'").await;
    let csv = format!(
        "{ALL}\n\
         other@example.com,customer00000001,,,,\n\
         a@example.com,customer00000002,,,,\n\
         a@example.com,customer00000003,,,,\n\
         gone@example.com,deletedCustomer1,,,,\n\
         gone@example.com,,,,,\n\
         new@example.com,customer00000004,,,,\n\
         new@example.com,customer00000005,,,,\n\
         newer@example.com,customer00000004,,,,\n"
    );
    let done = import(&service, &csv);
    assert_eq!((done.code, counts(&done)), (1, [8, 2, 0, 0, 6]));
    insta::assert_json_snapshot!(done.said, @r#"
    [
      "line 2: customer customer00000001 has another e-mail address, a@example.com",
      "line 3: the e-mail address a@example.com is customer customer00000001's",
      "line 4: the e-mail address a@example.com is customer customer00000001's",
      "line 5: customer deletedCustomer1 is deleted",
      "line 8: the e-mail address new@example.com is customer customer00000004's",
      "line 9: customer customer00000004 has another e-mail address, new@example.com",
      "error: 6 of 8 row(s) were rejected"
    ]
    "#);
    let again = import(&service, &csv);
    assert_eq!((counts(&again), again.said), ([8, 0, 0, 2, 6], done.said));
}

#[tokio::test]
async fn an_invalid_header_is_rejected_before_anything_is_written() {
    let service = Service::start().await;
    let headers = ["", "email,name", "email,phone,email", "firstName,phone", "email;phone"];
    let errors = headers.map(|header| {
        let done = import(&service, format!("{header}\na@example.com,1\n"));
        assert_eq!((done.code, done.said.len()), (2, 1), "{done:?}");
        done.said[0].split_once(": ").unwrap().1.split_once(": ").unwrap().1.to_owned()
    });
    insta::assert_json_snapshot!(errors, @r#"
    [
      "it has an unknown column \"a@example.com\": the columns are cuRefNo,email,firstName,lastName,companyName,phone,companyRegistrationNumber,taxIdentificationNumber,customerRealIp, separated by commas; --map names others",
      "it has an unknown column \"name\": the columns are cuRefNo,email,firstName,lastName,companyName,phone,companyRegistrationNumber,taxIdentificationNumber,customerRealIp, separated by commas; --map names others",
      "it has the column email twice",
      "it lacks the column email or cuRefNo",
      "it has an unknown column \"email;phone\": the columns are cuRefNo,email,firstName,lastName,companyName,phone,companyRegistrationNumber,taxIdentificationNumber,customerRealIp, separated by commas; --map names others"
    ]
    "#);
    assert_eq!(service.count("customer").await, 2);

    let refused = |arguments: &[&str]| {
        let output = on(&service.database, arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let nobodys = refused(&["customer", "import", "-", "--organisation", "99"]);
    assert_eq!(nobodys, (2, "error: -: it is empty: the first line must name the columns\n".into()));
    let nobodys =
        refused(&["customer", "import", file_of("email\n").path().to_str().unwrap(), "--organisation", "99"]);
    assert_eq!(
        nobodys,
        (
            1,
            "error: there is no organisation 99: `customer-match organisation list` shows which there are\n"
                .into()
        )
    );
    let missing = refused(&["customer", "import", "/no/such/file.csv", "--organisation", "1"]);
    let reason = "No such file or directory (os error 2)";
    assert_eq!(missing, (2, format!("error: /no/such/file.csv cannot be read: {reason}\n")));
}

#[tokio::test]
async fn a_quote_that_is_never_closed_stops_the_import_where_it_opens() {
    let service = Service::start().await;
    let done = import(&service, "email,firstName\na@example.com,A\nb@example.com,\"B\nc@example.com,C\n");
    assert_eq!((done.code, counts(&done)), (1, [1, 1, 0, 0, 0]), "what was before it is in");
    assert!(
        done.said[0].ends_with(
            "the import stopped after 1 row(s), which are stored: correct the file if necessary and run the import again, it continues after them: \
             the quote that opens in the row of line 3 is never closed"
        ),
        "{done:?}"
    );
}

#[tokio::test]
async fn rejected_rows_are_kept_to_be_corrected() {
    let service = Service::start().await;
    let dir = tempfile::tempdir().unwrap();
    let [rejected, again] = ["rejected.csv", "again.csv"].map(|name| dir.path().join(name));
    let keep_in = |file: &std::path::Path| ["--rejected".to_owned(), file.to_str().unwrap().to_owned()];
    let import = |csv: &[u8], file: &std::path::Path| {
        import_file(&service.database, "customer", csv, &keep_in(file).each_ref().map(String::as_str))
    };
    std::fs::write(&again, "of an earlier import").unwrap();
    let done = import(
        b"firstName,email\nEva,\"eva,example.com\"\nJan,jan@example.com\n\xff,x@example.com\nPetr\n",
        &rejected,
    );
    assert_eq!((done.code, counts(&done)), (1, [4, 1, 0, 0, 3]));
    let last =
        format!("error: 3 of 4 row(s) were rejected: correct them in {} and import that", rejected.display());
    assert_eq!(done.said.last(), Some(&last));
    let kept = std::fs::read(&rejected).unwrap();
    let expected = "rejectionReason,firstName,email
line 2: email must be an e-mail address with an @,Eva,\"eva,example.com\"
line 4: it is not UTF-8 text,\u{fffd},x@example.com
\"line 5: it has 1 cells, and the header has 2\",Petr
";
    assert_eq!(String::from_utf8_lossy(&kept), expected);

    // An unchanged row is rejected again, with its new line.
    let half = expected.replace("eva,ex", "eva@ex").replace('\u{fffd}', "Xaver");
    let done = import(half.as_bytes(), &again);
    assert_eq!((done.code, counts(&done)), (1, [3, 2, 0, 0, 1]), "{done:?}");
    let kept = std::fs::read_to_string(&again).unwrap();
    assert_eq!(
        kept,
        "rejectionReason,firstName,email\n\"line 4: it has 2 cells, and the header has 3\",Petr\n"
    );

    let done = import(b"email\nx@example.com\n", &again);
    assert_eq!((done.code, std::fs::read_to_string(&again).unwrap()), (0, "rejectionReason,email\n".into()));
}

#[tokio::test]
async fn a_file_for_rejected_rows_that_cannot_be_used_is_an_error_before_the_import() {
    let service = Service::start().await;
    let file = file_of("email\na@example.com\n");
    let path = file.path().to_str().unwrap();
    for (rejected, reason) in [
        (path, "it is the file that is imported: name another one"),
        ("/no/such/file.csv", "No such file or directory (os error 2)"),
    ] {
        let import = ["customer", "import", path, "--organisation", "1", "--rejected", rejected];
        let output = on(&service.database, &import).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, format!("error: --rejected: {rejected} cannot be written: {reason}\n"));
        assert_eq!(output.status.code(), Some(2));
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), "email\na@example.com\n");
    assert_eq!(service.count("customer").await, 2);
}

/// The signal comes while the command waits for more rows of a pipe.
#[tokio::test]
async fn a_signal_ends_it_between_two_batches_and_it_says_how_far_it_came() {
    let service = Service::start().await;
    for (number, signal) in [(1, Signal::INT), (2, Signal::TERM)] {
        let mut csv = "email\n".to_owned();
        for i in 0..1_500 {
            writeln!(csv, "c{i}@{number}.example.com").unwrap();
        }
        let before = service.count("customer").await;
        let arguments = ["customer", "import", "-", "--organisation", "1", "--format", "json"];
        let mut child = on(&service.database, &arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(csv.as_bytes()).unwrap();
        while service.count("customer").await < before + 1_000 {}
        kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert_eq!(
            said,
            "stopping after the rows in flight; Ctrl-C again stops at once\n\
             error: -: the import stopped after 1000 row(s), which are stored: run the import again, it continues after \
             them: interrupted\n"
        );
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["rows"], 1_000);

        let done = import(&service, &csv);
        assert_eq!((done.code, counts(&done)), (0, [1_500, 500, 0, 1_000, 0]));
    }
}

/// A file of several batches with every kind of bad row in between. Returns it with the lines that are rejected.
fn mixed(rows: usize) -> (String, Vec<u64>) {
    let mut csv = format!("{ALL}\n");
    let (mut line, mut bad) = (2, Vec::new());
    for i in 0..rows {
        let row = match i % 100 {
            7 => "nonsense,,,,,\n".to_owned(),
            17 => format!("x{i}@example.com,short,,,,\n"),
            27 => ",,Nobody,,,\n".to_owned(),
            37 => format!("x{i}@example.com,,\"two\nlines\",,,\n"),
            47 => format!("x{i}@example.com,,too,few\n"),
            57 => format!("x{i}@example.com,,{},,,\n", "x".repeat(201)),
            67 => format!("c0@example.com,contradict{i:06},,,,\n"),
            77 => format!("x{i}@example.com,poisoned{i:08},poison,,,\n"),
            // Good ones: blank lines before it, a doubled customer, quotes.
            87 => format!("\n\nd{i}@example.com,,Blank,lines,before,\n"),
            97 => format!("c{}@example.com,,Other,,,\n", i - 1),
            _ => format!("c{i}@example.com,customer{i:08},\"First\",\"La\"\"st\",,\"1\"\n"),
        };
        if [7, 17, 27, 37, 47, 57, 67, 77].contains(&(i % 100)) {
            bad.push(line);
        }
        line += row.matches('\n').count() as u64;
        csv += &row;
    }
    (csv, bad)
}

#[tokio::test]
async fn three_thousand_rows_with_every_kind_of_bad_row() {
    let service = Service::start().await;
    // A rule that only the database knows, and that fails a whole statement.
    service.execute("alter table customer add constraint no_poison check (first_name <> 'poison')").await;
    let (csv, bad) = mixed(3_000);
    let dry = import_file(&service.database, "customer", &csv, &["--dry-run"]);
    assert_eq!(service.count("customer").await, 2, "no trace of a dry run");

    let done = import(&service, &csv);
    assert_eq!((done.code, counts(&done)), (1, [3_000, 2_730, 0, 30, 240]));
    let lines: Vec<u64> = done.said[..240]
        .iter()
        .map(|said| said.strip_prefix("line ").unwrap().split_once(':').unwrap().0.parse().unwrap())
        .collect();
    assert_eq!(lines, bad);
    insta::assert_json_snapshot!(done.said[..8], @r#"
    [
      "line 9: email must be an e-mail address with an @",
      "line 19: cuRefNo must be exactly 16 letters or digits (A-Z, a-z, 0-9)",
      "line 29: it has neither an email nor a cuRefNo",
      "line 39: firstName must not contain control characters",
      "line 50: it has 4 cells, and the header has 6",
      "line 60: firstName must have at most 200 characters",
      "line 70: the e-mail address c0@example.com is customer customer00000000's",
      "line 80: the database rejects it: new row for relation \"customer\" violates check constraint \"no_poison\""
    ]
    "#);
    assert_eq!(service.count("customer").await, 2 + 2_730);

    assert_eq!(
        (dry.code, counts(&dry), &dry.said),
        (1, counts(&done), &done.said),
        "a dry run reports the same"
    );
    assert_eq!(dry.summary["dryRun"], true);

    let versions =
        "select md5(string_agg(customer::text || xmin::text, ',' order by cu_ref_no)) from customer";
    let before: String = sqlx::query_scalar(versions).fetch_one(&service.pool).await.unwrap();
    let again = import(&service, &csv);
    assert_eq!((counts(&again), &again.said), ([3_000, 0, 0, 2_760, 240], &done.said));
    let after: String = sqlx::query_scalar(versions).fetch_one(&service.pool).await.unwrap();
    assert_eq!(before, after, "run again, it writes nothing");
}

#[tokio::test]
async fn a_dry_run_reports_the_same_of_what_is_there_and_leaves_it() {
    let service = Service::start().await;
    service.add_customer("customer00000001", None).await;
    let mut csv = format!("{ALL}\na@example.com,customer00000001,A,,,\n");
    for i in 0..1_500 {
        writeln!(csv, "c{i}@example.com,,,,,").unwrap();
    }
    // In another batch than what they contradict or complete.
    csv += "a@example.com,,B,C,,\nb@example.com,customer00000001,,,,\nc0@example.com,,Filled,,,\njan@barasek.com,,,,,\n";
    let stored = customers(&service).await;
    let dry = import_file(&service.database, "customer", &csv, &["--dry-run"]);
    assert_eq!(customers(&service).await, stored);
    let done = import(&service, &csv);
    assert_eq!(counts(&done), [1_505, 1_500, 3, 1, 1]);
    assert_eq!((counts(&dry), dry.said), (counts(&done), done.said));
}

#[tokio::test]
async fn a_dry_run_locks_nothing_and_waits_for_nobody() {
    let service = Service::start().await;
    let mut holder = service.pool.begin().await.unwrap();
    sqlx::query("select from customer where organisation_id = 1 for update")
        .execute(&mut *holder)
        .await
        .unwrap();
    let dry =
        import_file(&service.database, "customer", "email,firstName\njan@barasek.com,Jan\n", &["--dry-run"]);
    assert_eq!((dry.code, counts(&dry)), (0, [1, 0, 1, 0, 0]), "{dry:?}");
}

#[tokio::test]
async fn organisations_are_apart() {
    let service = Service::start().await;
    let (other, _) = service.add_organisation("Other").await;
    service.add_customer_of(other, "customer00000001", Some("a@example.com")).await;
    let done =
        import(&service, "email,cuRefNo\nb@example.com,customer00000001\na@example.com,customer00000002\n");
    assert_eq!((done.code, counts(&done)), (0, [2, 2, 0, 0, 0]), "{done:?}");
}

/// Two imports of one file at once: both go through, and each customer is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_imports_at_once_agree() {
    let service = Service::start().await;
    let mut csv = format!("{ALL}\n");
    for i in 0..3_000 {
        writeln!(csv, "c{i}@example.com,,First,,,").unwrap();
    }
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| import(&service, &csv));
        let two = scope.spawn(|| import(&service, &csv));
        (one.join().unwrap(), two.join().unwrap())
    });
    for done in [&one, &two] {
        assert_eq!(done.code, 0, "{done:?}");
    }
    let [one, two] = [counts(&one), counts(&two)];
    assert_eq!((one[1] + two[1], one[3] + two[3]), (3_000, 3_000));
    assert_eq!(service.count("customer").await, 3_002);
}

#[tokio::test]
async fn the_summary_is_a_sentence_for_people() {
    let service = Service::start().await;
    let done = import_file(
        &service.database,
        "customer",
        "email\na@example.com\n",
        &["--format", "text", "--dry-run"],
    );
    assert_eq!(
        done.summary,
        "Dry run, nothing was written: 1 row(s): 1 created, 0 updated, 0 unchanged, 0 rejected.\n"
    );
}

/// With stderr closed only the report of rejected rows is lost.
#[tokio::test]
async fn continues_when_stderr_is_closed() {
    let service = Service::start().await;
    let file = file_of(format!("email\n{}good@example.com\n", "nonsense\n".repeat(2_000)));
    let mut command =
        on(&service.database, &["customer", "import", file.path().to_str().unwrap(), "--organisation", "1"]);
    let mut child = command.spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(service.count("customer").await, 3);
}

#[tokio::test]
async fn companies_have_numbers_and_customers_an_ip_address() {
    let service = Service::start().await;
    let csv = "email,companyRegistrationNumber,taxIdentificationNumber,customerRealIp\n\
               a@example.com,12345678,CZ12345678,[2001:DB8::1]:443\n\
               b@example.com,,,not an address\n";
    let done = import(&service, csv);
    assert_eq!((done.code, counts(&done)), (1, [2, 1, 0, 0, 1]));
    assert_eq!(done.said[0], "line 3: customerRealIp must be an IP address, of version 4 or 6");
    let stored: (String, String, String) = sqlx::query_as(
        "select company_registration_number, tax_identification_number, host(real_ip) from customer where email = 'a@example.com'",
    )
    .fetch_one(&service.pool)
    .await
    .unwrap();
    assert_eq!(stored, ("12345678".into(), "CZ12345678".into(), "2001:db8::1".into()));
}

/// The values of the file replace others, and each one that was there is told; a blank cell keeps it unless it is to clear it.
#[tokio::test]
async fn overwrites_what_is_stored_if_told_to() {
    let service = Service::start().await;
    let stored = format!(
        "{ALL}\n\
         a@example.com,customer00000001,Anna,Old,Acme,1\n\
         b@example.com,customer00000002,Bob,Old,,2\n\
         c@example.com,customer00000003,,,,\n"
    );
    assert_eq!(counts(&import(&service, stored)), [3, 3, 0, 0, 0]);
    // The second customer gets the e-mail address of the first one, which a new one then has had.
    let csv = format!(
        "{ALL}\n\
         new@example.com,customer00000001,Anna,Nová,,3\n\
         a@example.com,customer00000002,,,Bobs,\n\
         b@example.com,,Third,,,\n\
         new@example.com,,,Newer,,\n\
         jan@barasek.com,customer00000003,,,,\n"
    );
    let flags = ["--overwrite", "--clear", "phone", "--clear", "companyName"];
    let before = customers(&service).await;
    let dry = import_file(&service.database, "customer", &csv, &[&flags[..], &["--dry-run"]].concat());
    assert_eq!(customers(&service).await, before);
    let done = import_file(&service.database, "customer", &csv, &flags);
    assert_eq!((done.code, counts(&done)), (1, [5, 1, 3, 0, 1]), "{done:?}");
    assert_eq!(done.summary["overwritten"], 8);
    insta::assert_json_snapshot!(done.said, @r#"
    [
      "line 2: email \"a@example.com\" of customer customer00000001 becomes \"new@example.com\"",
      "line 2: lastName \"Old\" of customer customer00000001 becomes \"Nová\"",
      "line 2: companyName \"Acme\" of customer customer00000001 is cleared",
      "line 2: phone \"1\" of customer customer00000001 becomes \"3\"",
      "line 3: email \"b@example.com\" of customer customer00000002 becomes \"a@example.com\"",
      "line 3: phone \"2\" of customer customer00000002 is cleared",
      "line 5: lastName \"Nová\" of customer customer00000001 becomes \"Newer\"",
      "line 5: phone \"3\" of customer customer00000001 is cleared",
      "line 6: the e-mail address jan@barasek.com is customer 5CmsaVNgAQqRqoen's",
      "error: 1 of 5 row(s) were rejected"
    ]
    "#);
    assert_eq!(
        (dry.code, counts(&dry), &dry.summary["overwritten"]),
        (1, counts(&done), &done.summary["overwritten"])
    );
    assert_eq!(dry.said, done.said);
    let after = customers(&service).await;
    assert_eq!(after[0], "a@example.com|customer00000002|Bob|Old|Bobs");
    assert!(after[1].starts_with("b@example.com|") && after[1].ends_with("|Third"), "{after:?}");
    assert_eq!(after[2..], ["c@example.com|customer00000003", "new@example.com|customer00000001|Anna|Newer"]);

    let output =
        on(&service.database, &["customer", "import", "-", "--organisation", "1", "--clear", "phone"])
            .output()
            .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--overwrite"));
}

/// What another request writes while the file is imported stays, unless the file has a value for it.
#[tokio::test(flavor = "multi_thread")]
async fn overwriting_keeps_what_the_file_does_not_name() {
    let service = Service::start().await;
    service.add_customer("customer00000001", Some("a@example.com")).await;
    let mut holder = service.pool.begin().await.unwrap();
    sqlx::query(
        "update customer set phone = '2', company_name = 'Acme'
         where organisation_id = 1 and cu_ref_no = 'customer00000001'",
    )
    .execute(&mut *holder)
    .await
    .unwrap();
    let importing = std::thread::scope(|scope| {
        let importing = scope.spawn(|| {
            import_file(
                &service.database,
                "customer",
                "email,firstName,phone\na@example.com,Anna,1\n",
                &["--overwrite"],
            )
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                service.database.lock_waits().await.until(|_| true).await;
                holder.commit().await.unwrap();
            });
        });
        importing.join().unwrap()
    });
    assert_eq!((importing.code, counts(&importing)), (0, [1, 0, 1, 0, 0]), "{importing:?}");
    assert_eq!(customers(&service).await, ["a@example.com|customer00000001|Anna|Acme|1"]);
}

#[tokio::test]
async fn reads_a_json_object_on_each_line() {
    let service = Service::start().await;
    let dir = tempfile::tempdir().unwrap();
    let rejected = dir.path().join("rejected.csv");
    let lines = r#"
        {"email":"A@Example.com","cuRefNo":"customer00000001","firstName":"=Anna","phone":null}

        {"email":"b@example.com","lastName":"O'Brien","createdAt":"2026-01-10T16:19:41.675Z"}
        {"email":"c@example.com","phone":420}
        {"email":"d@example.com","note":""}
        {"email":"e@example.com"
        ["f@example.com"]
        {"phone":"+420"}
        =1+1"#;
    let keep = ["--rejected", rejected.to_str().unwrap()];
    let done = import_file(&service.database, "customer", lines, &keep);
    assert_eq!((done.code, counts(&done)), (1, [8, 2, 0, 0, 6]), "{done:?}");
    insta::assert_json_snapshot!(done.said[..6], @r#"
    [
      "line 5: phone must be a text",
      "line 6: it has an unknown member \"note\"",
      "line 7: it is not a JSON object (column 24)",
      "line 8: it is not a JSON object (column 0)",
      "line 9: it has neither an email nor a cuRefNo",
      "line 10: it is not a JSON object (column 1)"
    ]
    "#);
    let stored = customers(&service).await;
    assert_eq!(stored[0], "a@example.com|customer00000001|=Anna");
    assert!(stored[1].ends_with("|O'Brien"), "{stored:?}");
    insta::assert_snapshot!(std::fs::read_to_string(&rejected).unwrap(), @r#"
    rejectionReason,cuRefNo,email,firstName,lastName,companyName,phone,companyRegistrationNumber,taxIdentificationNumber,customerRealIp
    line 5: phone must be a text,"{""email"":""c@example.com"",""phone"":420}"
    "line 6: it has an unknown member ""note""","{""email"":""d@example.com"",""note"":""""}"
    line 7: it is not a JSON object (column 24),"{""email"":""e@example.com"""
    line 8: it is not a JSON object (column 0),"[""f@example.com""]"
    line 9: it has neither an email nor a cuRefNo,,,,,,'+420,,,
    line 10: it is not a JSON object (column 1),'=1+1
    "#);

    let long = format!("{{\"email\":\"a@example.com\"}}\n{{\"firstName\":\"{}\"}}", "x".repeat(1 << 20));
    let done = import(&service, long);
    assert!(
        done.said[0].ends_with("the row of line 2 cannot be read: it is longer than 1 MiB"),
        "{:?}",
        done.said
    );
}

#[tokio::test]
async fn a_column_may_have_another_name() {
    let service = Service::start().await;
    let csv = "E-mail = address,First Name,Owner\na@example.com,Anna,x\nnonsense,Bob,y\n";
    let dir = tempfile::tempdir().unwrap();
    let rejected = dir.path().join("rejected.csv");
    let [address, name] = ["E-mail = address=email", "First Name = firstName"];
    let run = |more: &[&str]| import_file(&service.database, "customer", csv, more);
    let reason = |done: Import| {
        assert_eq!((done.code, done.said.len()), (2, 1), "{done:?}");
        done.said[0].split_once(": ").unwrap().1.split_once(": ").unwrap().1.to_owned()
    };
    insta::assert_json_snapshot!(
        [
            reason(run(&["--map", address])),
            reason(run(&["--map", "First Name=name"])),
            reason(run(&["--map", address, "--map", name, "--map", "Owner=email"])),
            reason(run(&["--map", "Nickname=firstName", "--ignore-unknown"])),
        ],
        @r#"
    [
      "it has an unknown column \"First Name\": the columns are cuRefNo,email,firstName,lastName,companyName,phone,companyRegistrationNumber,taxIdentificationNumber,customerRealIp, separated by commas; --map names others",
      "--map: the import has no column \"name\": its columns are cuRefNo,email,firstName,lastName,companyName,phone,companyRegistrationNumber,taxIdentificationNumber,customerRealIp",
      "--map: E-mail = address=email has a name that another --map has",
      "it lacks the column \"Nickname\", which --map names"
    ]
    "#
    );
    let flags =
        ["--map", address, "--map", name, "--ignore-unknown", "--rejected", rejected.to_str().unwrap()];
    let done = run(&flags);
    assert_eq!((done.code, counts(&done)), (1, [2, 1, 0, 0, 1]), "{done:?}");
    let kept = std::fs::read_to_string(&rejected).unwrap();
    assert_eq!(
        kept,
        "rejectionReason,E-mail = address,First Name,Owner\nline 3: email must be an e-mail address with an @,nonsense,Bob,y\n"
    );
    let again =
        import_file(&service.database, "customer", kept.replace("nonsense", "b@example.com"), &flags[..5]);
    assert_eq!((again.code, counts(&again)), (0, [1, 1, 0, 0, 0]), "{again:?}");

    let lines = "{\"E-mail = address\":\"c@example.com\",\"First Name\":\"Cyril\",\"Owner\":7}";
    let done = import_file(&service.database, "customer", lines, &flags[..5]);
    assert_eq!((done.code, counts(&done)), (0, [1, 1, 0, 0, 0]), "{done:?}");
}

/// The commands of docs/import.md, with the files that they name.
#[tokio::test]
async fn exports_of_other_systems_are_imported_as_documented() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/import.md")).unwrap();
    let mut imported = Vec::new();
    for system in ["hubspot", "civicrm", "odoo"] {
        let service = Service::start().await;
        let start = format!("customer-match customer import examples/import/{system}.csv ");
        let (_, command) = docs.split_once(&start).unwrap();
        let command = command.split_once("\n```").unwrap().0.replace("\\\n", " ");
        // Quoted words are at the odd places.
        let words = command.split('"').enumerate().flat_map(|(place, part)| match place % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
        let flags: Vec<_> = words.filter(|word| word != "--organisation" && word != "2").collect();
        let path = format!("{}/examples/import/{system}.csv", env!("CARGO_MANIFEST_DIR"));
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let done = import_file(&service.database, "customer", std::fs::read(path).unwrap(), &flags);
        assert_eq!((done.code, counts(&done)), (0, [3, 3, 0, 0, 0]), "{done:?}");
        let stored: Vec<String> = sqlx::query_scalar(
            "select concat_ws('|', email, first_name, last_name, company_name, phone,
                              company_registration_number, tax_identification_number)
             from customer where cu_ref_no not in ($1, $2) order by email",
        )
        .bind(MANAGER)
        .bind(CUSTOMER)
        .fetch_all(&service.pool)
        .await
        .unwrap();
        imported.push((system, stored));
    }
    insta::assert_json_snapshot!(imported, @r#"
    [
      [
        "hubspot",
        [
          "eva@example.com|Eva|Malá|Gym One, Ltd.|+420 601 234 567",
          "jan@example.org|Jan|Barášek",
          "office@example.net|Gym One, Ltd.|541 234 567"
        ]
      ],
      [
        "civicrm",
        [
          "eva@example.com|Eva|Malá|Gym \"One\", Ltd.|+420 601 234 567",
          "jan@example.org|Jan|Barášek",
          "office@example.net|541 234 567"
        ]
      ],
      [
        "odoo",
        [
          "eva@example.com|Eva Malá|Gym One, Ltd.|+420 601 234 567",
          "jan@example.org|Jan Barášek",
          "office@example.net|Gym One, Ltd.|+420 541 234 567|12345678|CZ12345678"
        ]
      ]
    ]
    "#);
}
