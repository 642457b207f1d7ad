//! `customer-match customer export` and `match export` (docs/import.md).

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::Service;
use crate::support::binary::{on, run_both};
use crate::support::import::import;

/// Every field, each kind of relation, and texts that a careless writer of CSV or reader of JSON would change.
async fn fill(service: &Service) {
    service
        .execute(
            r#"
            insert into customer (
                organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone,
                company_registration_number, tax_identification_number, real_ip
            ) values
                (1, 'allFields0000001', 'eva@example.com', 'Eva', 'Malá', 'Gym "One", Ltd.', '+420 601 234 567',
                 '12345678', 'CZ12345678', '2001:db8::1'),
                (1, 'formulas00000001', '=cmd@example.com', '=1+1', '''=1', '''', '@x', '-1', '＝1', '192.0.2.7'),
                (1, 'noAddress0000001', null, null, 'ends with a backslash\', 'O''Brien', null, null, null, null),
                (1, 'deletedCustomer1', 'deleted@example.com', null, null, null, null, null, null, null);
            insert into customer_match (
                organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
                created_at, matched_at, updated_at, deactivated_at
            )
            select 1, low, high, low_manages, high_manages, notice, t, t, t, case when ended then t end
            from (values
                ('1cGIHvFoQDGLAbcA', '5CmsaVNgAQqRqoen', true, false, null, false),
                ('1cGIHvFoQDGLAbcA', 'allFields0000001', false, true, '=HYPERLINK("http://x.example")', false),
                ('1cGIHvFoQDGLAbcA', 'formulas00000001', true, true, E'two\nlines, "quoted"', false),
                ('1cGIHvFoQDGLAbcA', 'noAddress0000001', false, true, 'was so', true),
                ('5CmsaVNgAQqRqoen', 'allFields0000001', true, true, null, true),
                ('5CmsaVNgAQqRqoen', 'formulas00000001', true, false, '', false),
                ('5CmsaVNgAQqRqoen', 'deletedCustomer1', true, false, 'of a deleted one', true)
            ) as relation (low, high, low_manages, high_manages, notice, ended),
            (values ('2026-01-10T16:19:41.675Z'::timestamptz)) as at (t);
            update customer set created_at = '2026-01-10T16:19:41.675Z', updated_at = '2026-01-10T16:19:41.675Z';
            update customer set deleted_at = now() where cu_ref_no = 'deletedCustomer1';
            "#,
        )
        .await;
}

fn export_to(service: &Service, what: &str, more: &[&str]) -> Output {
    on(&service.database, &[&[what, "export", "--organisation", "1"], more].concat()).output().unwrap()
}

/// What is written to the standard output.
fn export(service: &Service, what: &str, more: &[&str]) -> String {
    let output = export_to(service, what, more);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn csv_has_a_header_and_no_formulas() {
    let service = Service::start().await;
    fill(&service).await;
    insta::assert_snapshot!(export(&service, "customer", &["--times"]), @r#"
    cuRefNo,email,firstName,lastName,companyName,phone,companyRegistrationNumber,taxIdentificationNumber,customerRealIp,createdAt,updatedAt
    1cGIHvFoQDGLAbcA,,,,,,,,,2026-01-10T16:19:41.675Z,2026-01-10T16:19:41.675Z
    5CmsaVNgAQqRqoen,jan@barasek.com,,,,,,,,2026-01-10T16:19:41.675Z,2026-01-10T16:19:41.675Z
    allFields0000001,eva@example.com,Eva,Malá,"Gym ""One"", Ltd.",'+420 601 234 567,12345678,CZ12345678,2001:db8::1,2026-01-10T16:19:41.675Z,2026-01-10T16:19:41.675Z
    formulas00000001,'=cmd@example.com,'=1+1,''=1,','@x,'-1,'＝1,192.0.2.7,2026-01-10T16:19:41.675Z,2026-01-10T16:19:41.675Z
    noAddress0000001,,,ends with a backslash\,O'Brien,,,,,2026-01-10T16:19:41.675Z,2026-01-10T16:19:41.675Z
    "#);
    insta::assert_snapshot!(export(&service, "match", &[]), @r#"
    managerCuRefNo,customerCuRefNo,role,active,notice
    1cGIHvFoQDGLAbcA,5CmsaVNgAQqRqoen,customer,true,
    allFields0000001,1cGIHvFoQDGLAbcA,customer,true,"'=HYPERLINK(""http://x.example"")"
    1cGIHvFoQDGLAbcA,formulas00000001,both,true,"two
    lines, ""quoted"""
    noAddress0000001,1cGIHvFoQDGLAbcA,customer,false,was so
    5CmsaVNgAQqRqoen,allFields0000001,both,false,
    5CmsaVNgAQqRqoen,formulas00000001,customer,true,
    "#);
}

#[tokio::test]
async fn ndjson_has_the_values_as_they_are() {
    let service = Service::start().await;
    fill(&service).await;
    insta::assert_snapshot!(export(&service, "customer", &["--format", "ndjson"]), @r#"
    {"cuRefNo":"1cGIHvFoQDGLAbcA","email":null,"firstName":null,"lastName":null,"companyName":null,"phone":null,"companyRegistrationNumber":null,"taxIdentificationNumber":null,"customerRealIp":null}
    {"cuRefNo":"5CmsaVNgAQqRqoen","email":"jan@barasek.com","firstName":null,"lastName":null,"companyName":null,"phone":null,"companyRegistrationNumber":null,"taxIdentificationNumber":null,"customerRealIp":null}
    {"cuRefNo":"allFields0000001","email":"eva@example.com","firstName":"Eva","lastName":"Malá","companyName":"Gym \"One\", Ltd.","phone":"+420 601 234 567","companyRegistrationNumber":"12345678","taxIdentificationNumber":"CZ12345678","customerRealIp":"2001:db8::1"}
    {"cuRefNo":"formulas00000001","email":"=cmd@example.com","firstName":"=1+1","lastName":"'=1","companyName":"'","phone":"@x","companyRegistrationNumber":"-1","taxIdentificationNumber":"＝1","customerRealIp":"192.0.2.7"}
    {"cuRefNo":"noAddress0000001","email":null,"firstName":null,"lastName":"ends with a backslash\\","companyName":"O'Brien","phone":null,"companyRegistrationNumber":null,"taxIdentificationNumber":null,"customerRealIp":null}
    "#);
    insta::assert_snapshot!(export(&service, "match", &["--format", "ndjson", "--times"]), @r#"
    {"managerCuRefNo":"1cGIHvFoQDGLAbcA","customerCuRefNo":"5CmsaVNgAQqRqoen","role":"customer","active":true,"notice":null,"createdAt":"2026-01-10T16:19:41.675Z","matchedAt":"2026-01-10T16:19:41.675Z","updatedAt":"2026-01-10T16:19:41.675Z","endedAt":null}
    {"managerCuRefNo":"allFields0000001","customerCuRefNo":"1cGIHvFoQDGLAbcA","role":"customer","active":true,"notice":"=HYPERLINK(\"http://x.example\")","createdAt":"2026-01-10T16:19:41.675Z","matchedAt":"2026-01-10T16:19:41.675Z","updatedAt":"2026-01-10T16:19:41.675Z","endedAt":null}
    {"managerCuRefNo":"1cGIHvFoQDGLAbcA","customerCuRefNo":"formulas00000001","role":"both","active":true,"notice":"two\nlines, \"quoted\"","createdAt":"2026-01-10T16:19:41.675Z","matchedAt":"2026-01-10T16:19:41.675Z","updatedAt":"2026-01-10T16:19:41.675Z","endedAt":null}
    {"managerCuRefNo":"noAddress0000001","customerCuRefNo":"1cGIHvFoQDGLAbcA","role":"customer","active":false,"notice":"was so","createdAt":"2026-01-10T16:19:41.675Z","matchedAt":"2026-01-10T16:19:41.675Z","updatedAt":"2026-01-10T16:19:41.675Z","endedAt":"2026-01-10T16:19:41.675Z"}
    {"managerCuRefNo":"5CmsaVNgAQqRqoen","customerCuRefNo":"allFields0000001","role":"both","active":false,"notice":null,"createdAt":"2026-01-10T16:19:41.675Z","matchedAt":"2026-01-10T16:19:41.675Z","updatedAt":"2026-01-10T16:19:41.675Z","endedAt":"2026-01-10T16:19:41.675Z"}
    {"managerCuRefNo":"5CmsaVNgAQqRqoen","customerCuRefNo":"formulas00000001","role":"customer","active":true,"notice":null,"createdAt":"2026-01-10T16:19:41.675Z","matchedAt":"2026-01-10T16:19:41.675Z","updatedAt":"2026-01-10T16:19:41.675Z","endedAt":null}
    "#);
}

#[rstest]
#[case::csv("csv")]
#[case::ndjson("ndjson")]
#[tokio::test]
async fn what_is_imported_elsewhere_is_exported_as_the_same_bytes(#[case] format: &str) {
    let (here, there) = (Service::start().await, Service::start().await);
    fill(&here).await;
    there.execute("delete from customer").await;
    for (what, rows) in [("customer", 5), ("match", 6)] {
        let file = export(&here, what, &["--format", format]);
        let dry = import(&there.database, what, &file, &["--dry-run"]);
        let done = import(&there.database, what, &file, &[]);
        assert_eq!((done.code, done.counts(["rows", "created"])), (0, [rows, rows]), "{done:?}");
        assert_eq!(dry.counts(["rows", "created"]), [rows, rows], "{dry:?}");
        assert_eq!(export(&there, what, &["--format", format]), file);

        let again = import(&there.database, what, &file, &[]);
        assert_eq!((again.code, again.counts(["rows", "unchanged"])), (0, [rows, rows]), "{again:?}");
        // The columns of times are not read.
        let with_times = export(&here, what, &["--format", format, "--times"]);
        let again = import(&there.database, what, with_times, &[]);
        assert_eq!((again.code, again.counts(["unchanged"])), (0, [rows]), "{again:?}");
    }
    // As a spreadsheet that the operator saves again, also into the organisation that it is of.
    let again = import(&here.database, "match", export(&here, "match", &["--format", format]), &[]);
    assert_eq!((again.code, again.counts(["unchanged"])), (0, [6]), "{again:?}");
}

#[tokio::test]
async fn only_the_organisation_is_exported() {
    let service = Service::start().await;
    let (other, _) = service.add_organisation("Other").await;
    service.add_customer_of(other, "customer00000001", Some("a@example.com")).await;
    let file = export(&service, "customer", &[]);
    assert_eq!(file.lines().count(), 3, "{file}");
    let output = on(&service.database, &["customer", "export", "--organisation", "99"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "error: there is no organisation 99: `customer-match organisation list` shows which there are\n"
    );
}

/// The names of the files in a directory.
fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_is_created_and_not_replaced_unless_that_is_asked_for() {
    let service = Service::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("customers.ndjson");
    let name = path.to_str().unwrap();
    let (stdout, said) =
        run_both(on(&service.database, &["customer", "export", name, "--organisation", "1"]));
    assert_eq!((stdout.as_str(), said.as_str()), ("", "2 customer(s) exported.\n"));
    let content = std::fs::read_to_string(&path).unwrap();
    assert_eq!(content, export(&service, "customer", &["--format", "ndjson"]), "the name tells the format");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    std::fs::write(&path, "mine").unwrap();
    let refused = export_to(&service, "customer", &[name]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(said, format!("error: {name} cannot be written: it exists, and --overwrite is not given\n"));
    assert_eq!((refused.status.code(), std::fs::read_to_string(&path).unwrap()), (Some(2), "mine".into()));

    // Through a link, which stays one.
    let link = dir.path().join("link.ndjson");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(export_to(&service, "customer", &[link.to_str().unwrap(), "--overwrite"]).status.success());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    assert!(link.is_symlink());
    assert_eq!(files(dir.path()), ["customers.ndjson", "link.ndjson"]);

    let missing = export_to(&service, "customer", &["/no/such/directory/a.csv"]);
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(said.starts_with("error: /no/such/directory/a.csv cannot be written: No such file"), "{said}");
    assert_eq!(missing.status.code(), Some(2));
}

/// The signal comes while the statement waits for a lock.
#[tokio::test]
async fn an_interrupted_export_leaves_no_file() {
    let service = Service::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("matches.csv");
    let mut holder = service.pool.begin().await.unwrap();
    sqlx::query("lock table customer_match in access exclusive mode").execute(&mut *holder).await.unwrap();
    let arguments = ["match", "export", path.to_str().unwrap(), "--organisation", "1"];
    let child = on(&service.database, &arguments).spawn().unwrap();
    service.database.lock_waits().await.until(|_| true).await;
    assert_eq!(files(dir.path()).len(), 1, "under another name");
    kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "error: interrupted\n");
    assert_eq!((output.status.code(), files(dir.path()).len()), (Some(130), 0));
}

/// 80 MB, of which the reader of the pipe has taken a tenth.
#[tokio::test]
async fn memory_does_not_grow_with_the_export() {
    let service = Service::start().await;
    service
        .execute(
            "insert into customer (organisation_id, cu_ref_no)
             select 1, 'many' || lpad(number::text, 12, '0') from generate_series(1, 8000) as number;
             insert into customer_match (
                 organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
                 created_at, matched_at, updated_at
             )
             select 1, '1cGIHvFoQDGLAbcA', 'many' || lpad(number::text, 12, '0'), true, false, repeat('x', 10000),
                    now(), now(), now()
             from generate_series(1, 8000) as number",
        )
        .await;
    let mut child = on(&service.database, &["match", "export", "--organisation", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut read = vec![0; 8_000_000];
    stdout.read_exact(&mut read).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(peak < 50_000, "{peak} kB");
    assert_eq!(std::io::copy(&mut stdout, &mut std::io::sink()).unwrap() / 1_000_000, 72);
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn an_export_that_cannot_be_written_is_an_error() {
    let service = Service::start().await;
    let mut command = on(&service.database, &["match", "export", "--organisation", "1"]);
    command.stdout(std::io::pipe().unwrap().1);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error: - cannot be written: Broken pipe"), "{said}");
    assert_eq!(output.status.code(), Some(1));

    // A named pipe stays one.
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read_to_string(pipe).unwrap()
    });
    assert!(export_to(&service, "match", &[pipe.to_str().unwrap()]).status.success());
    assert_eq!(reader.join().unwrap(), "managerCuRefNo,customerCuRefNo,role,active,notice\n");
}
