//! Settings: their variables, their documentation, and which values are rejected before anything starts.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use clap::builder::Resettable;
use clap::{Arg, CommandFactory};
use customer_match::cli::Cli;
use rstest::rstest;
use serde_json::json;
use tempfile::TempDir;

use crate::support::binary::{command, on, run, run_json, run_refused};
use crate::support::{CUSTOMER, MANAGER, Service, TestDatabase};

const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// Every option of every subcommand.
fn options() -> Vec<Arg> {
    fn collect(command: &clap::Command, found: &mut Vec<Arg>) {
        let built_in = ["help", "version"];
        let options = command.get_arguments().filter(|arg| arg.get_long().is_some());
        found.extend(options.filter(|arg| !built_in.contains(&arg.get_id().as_str())).cloned());
        command.get_subcommands().for_each(|command| collect(command, found));
    }
    let mut found = Vec::new();
    collect(&Cli::command(), &mut found);
    found
}

fn variable(option: &Arg) -> String {
    option.get_env().map(|name| name.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// A value that is left in the environment must not decide what a one-shot command does, so only settings, the organisation
/// and the output format have variables.
#[test]
fn settings_have_variables_and_one_shot_arguments_have_none() {
    let mut command = Cli::command();
    command.build();
    let serve = command.find_subcommand("serve").unwrap();
    let long = |option: &Arg| option.get_long().map(str::to_owned);
    let settings: BTreeSet<_> =
        serve.get_arguments().filter_map(long).chain(named(["organisation", "format"])).collect();
    let (with, without): (Vec<_>, Vec<_>) =
        options().into_iter().partition(|option| variable(option).starts_with("CUSTOMER_MATCH_"));
    let names = |options: Vec<Arg>| options.iter().filter_map(long).collect::<BTreeSet<_>>();
    assert_eq!(names(with), &settings - &named(["help"]).collect());
    let one_shot = [
        "after",
        "all",
        "allowed-origin",
        "clear",
        "client-limit-per-minute",
        "company-name",
        "company-registration-number",
        "cu-ref-no",
        "customer-real-ip",
        "days",
        "description",
        "dry-run",
        "email",
        "expires-in-days",
        "first-name",
        "format",
        "ignore-unknown",
        "kind",
        "largest",
        "last-name",
        "limit",
        "limit-per-minute",
        "map",
        "never-expires",
        "notices",
        "on-one-node",
        "overlap",
        "overwrite",
        "phone",
        "publishable",
        "query",
        "reason",
        "rejected",
        "scope",
        "tax-identification-number",
        "times",
        "yes",
    ];
    assert_eq!(names(without), named(one_shot).collect());
}

fn named<const N: usize>(names: [&str; N]) -> impl Iterator<Item = String> {
    names.map(str::to_owned).into_iter()
}

#[test]
fn every_setting_is_documented_with_its_default() {
    let mut command = Cli::command();
    command.build();
    let serve = command.find_subcommand("serve").unwrap();
    for option in serve.get_arguments().filter(|arg| arg.get_env().is_some()) {
        let flag = format!("`--{}`", option.get_long().unwrap());
        let row = OPERATIONS.lines().find(|line| line.starts_with('|') && line.contains(&flag));
        let row = row.unwrap_or_else(|| panic!("{flag} is not in the table"));
        assert!(row.contains(&format!("`{}`", variable(option))), "{row}");
        for default in option.get_default_values().iter().filter_map(|value| value.to_str()) {
            assert!(default == "false" || row.contains(&format!("`{default}`")), "{default}: {row}");
        }
    }
}

#[test]
fn help_prints_no_value_of_a_secret() {
    for option in options().iter().filter(|option| !option.is_hide_env_values_set()) {
        let name = variable(option);
        let secret = ["URL", "SECRET", "PASSWORD", "TOKEN"].iter().any(|word| name.ends_with(word));
        assert!(!secret, "{name} would be printed");
    }
    let mut help = command(&["serve", "--help"]);
    help.env("CUSTOMER_MATCH_DATABASE_URL", "postgres://user:hunter2@host/database");
    assert!(!run(help).contains("hunter2"));
}

#[rstest]
#[case(&["--listen", "nowhere"])]
#[case(&["--header-timeout", "5"])]
#[case(&["--header-timeout", "10h"])]
#[case(&["--body-timeout", "30s"])]
#[case(&["--request-timeout", "30s"])]
#[case(&["--database-url", "postgres://user:hunter2@host:port/database"])]
#[case(&["--database-url", "postgres://host/database", "--demo"])]
#[case(&["--database-url", "postgres://host/database", "--database-url-file", "/dev/null"])]
#[case(&["--database-url-file", "/nonexistent/hunter2"])]
#[case(&["--database-url", "mysql://user:hunter2@host/database"])]
#[case(&["--database-url", ""])]
#[case(&["--database-url", "postgres://host/database", "--data-dir", "/tmp/nothing"])]
#[case(&["--data-dir", "/tmp/nothing"])]
#[case(&["--replica-database-url", "postgres://user:hunter2@host:port/database"])]
#[case(&["--replica-database-url-file", "/nonexistent/hunter2"])]
#[case(&["--replica-database-url", "postgres://host/database", "--replica-database-url-file", "/dev/null"])]
#[case(&["--max-replica-lag", "5s"])]
#[case(&["--admin-listen", "127.0.0.1:8080"])]
#[case(&["--listen", "LOCALHOST:80", "--admin-listen", "localhost:80"])]
#[case(&["--max-connections", "0"])]
#[case(&["--max-connections", "10000000"])]
#[case(&["--max-connections-per-client-ip", "0"])]
#[case(&["--max-connections", "10", "--max-connections-per-client-ip", "11"])]
#[case(&["--demo=flase"])]
#[case(&["--wait-for-database", "2days"])]
#[case(&["--database-max-connections", "0"])]
#[case(&["--dev-limit-per-minute", "0"])]
#[case(&["--trusted-proxy", "10.0.0.0/33"])]
#[case(&["--cors-origin", "https://app.example/"])]
#[case(&["--cors-origin", "https://app.example:443"])]
#[case(&["--cors-origin", "*"])]
#[case(&["--cors-origin", "https://*.example.com"])]
#[case(&["--log-level", "loud"])]
#[case(&["--log-level", "sqlx=loud"])]
#[case(&["--log-format", "xml"])]
fn an_invalid_setting_is_an_error_of_one_line(#[case] flags: &[&str]) {
    let said = ["serve", "config check"].map(|subcommand| {
        let arguments: Vec<_> = subcommand.split(' ').chain(flags.iter().copied()).collect();
        let mut command = command(&arguments);
        // No database listens there, so a server that starts by mistake ends all the same.
        command.env("DATABASE_URL", "postgres://127.0.0.1:1/nothing");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    });
    assert_eq!(said[0], said[1]);
    let line = said[0].lines().next().unwrap();
    assert!(line.starts_with("error: ") && line.len() < 200, "{line}");
    assert!(!said[0].contains("hunter2@"), "{line}");
}

/// An error message that names a range means it.
#[test]
fn a_range_that_is_named_is_accepted() {
    let mut named = 0;
    for option in options() {
        let parse = |value: &str| {
            let flag = format!("--{}={value}", option.get_long().unwrap());
            // Alone: the arguments that it goes with are not there.
            let option = option.clone().env(None::<&str>).requires(Resettable::Reset);
            let option = option.required_unless_present(Resettable::Reset);
            let command = clap::Command::new("test").no_binary_name(true).arg(option);
            command.try_get_matches_from([flag]).map_err(|error| error.to_string())
        };
        for outside in ["-1", "0", "99999999999", "9999999999999999999"] {
            let Err(error) = parse(outside) else { continue };
            let Some((_, range)) = error.split_once(" is not in ") else { continue };
            let range = range.lines().next().unwrap();
            let (least, most) = range.split_once("..=").unwrap_or_else(|| panic!("{error}"));
            for bound in [least, most] {
                parse(bound).unwrap_or_else(|error| panic!("{range} is named, but: {error}"));
            }
            named += 1;
        }
    }
    assert!(named > 10, "{named}");
}

#[rstest]
#[case("CUSTOMER_MATCH_MIGRATE", "flase")]
#[case("CUSTOMER_MATCH_NO_DEMO", "2")]
#[case("CUSTOMER_MATCH_DEMO", "maybe")]
#[case("CUSTOMER_MATCH_LISTEN", "nowhere")]
#[case("CUSTOMER_MATCH_CORS_ORIGINS", "https://app.example,*")]
#[case("CUSTOMER_MATCH_TRUSTED_PROXIES", "10.0.0.1,proxy.example")]
fn an_invalid_variable_is_an_error(#[case] name: &str, #[case] value: &str) {
    let mut check = command(&["config", "check"]);
    check.env(name, value);
    let refused = run_refused(check);
    assert!(refused.starts_with("error: invalid value "), "{refused}");
}

#[rstest]
#[case("off")]
#[case("FALSE")]
#[case("1")]
#[case("yes")]
fn switches_take_these_words(#[case] value: &str) {
    let mut check = command(&["config", "check"]);
    check.env("CUSTOMER_MATCH_MIGRATE", value);
    run(check);
}

/// Many tools unset a variable by emptying it.
#[test]
fn an_empty_variable_counts_as_unset() {
    let mut check = command(&["config", "check"]);
    check.envs(options().iter().map(variable).filter(|name| !name.is_empty()).map(|name| (name, "")));
    check.env("DATABASE_URL", "").env("RUST_LOG", "");
    assert_eq!(run(check), "The settings are valid.\n");
}

#[test]
fn valid_settings_pass_the_check() {
    let check = ["config", "check", "--request-timeout", "15s", "--listen", "localhost:0"];
    assert_eq!(run(command(&check)), "The settings are valid.\n");
    run(command(&["config", "check", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]));
    run(command(&["config", "check", "--max-connections", "10"]));
    let unreachable =
        run(command(&["config", "check", "--database-url", "postgresql:///database?host=/no/such/dir"]));
    assert!(
        unreachable.starts_with("The settings are valid. The database was not checked: "),
        "{unreachable}"
    );
    let checked = run_json(command(&["config", "check", "--format", "json"]));
    assert_eq!(checked, json!({ "valid": true, "databaseChecked": true }));
}

#[test]
fn a_database_url_may_come_from_a_file() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("url");
    std::fs::write(&file, "postgres://user:hunter2@host:port/database\n").unwrap();
    let mut check = command(&["config", "check"]);
    check.env("CUSTOMER_MATCH_DATABASE_URL_FILE", &file).env("DATABASE_URL", "postgres://host/database");
    let refused = run_refused(check);
    assert!(refused.contains("database URL") && !refused.contains("hunter2"), "{refused}");
    std::fs::write(&file, "postgres://user:hunter2@host/database\n").unwrap();
    run(command(&["config", "check", "--database-url-file", file.to_str().unwrap()]));
}

#[test]
fn the_private_postgres_has_no_replica() {
    let said =
        run_refused(command(&["config", "check", "--replica-database-url", "postgres://host/database"]));
    assert!(said.starts_with("error: --replica-database-url names a standby of the database"), "{said}");
}

#[tokio::test]
async fn a_request_over_its_timeout_is_503() {
    let service = Service::start_configured(&["--request-timeout", "200ms", "--body-timeout", "100ms"]).await;
    let mut other = service.pool.begin().await.unwrap();
    sqlx::query("lock table customer").execute(&mut *other).await.unwrap();
    let answer = service.post_match(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER })).await;
    answer.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
    assert_eq!(answer.headers["retry-after"], "1");
}

#[test]
fn a_misspelt_parameter_of_the_database_url_is_not_quoted() {
    let url = "postgres://user@localhost/database?pasword=s3cret";
    let output = command(&["config", "check", "--database-url", url]).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
fn a_database_url_that_is_not_utf_8_is_an_error() {
    let mut check = command(&["config", "check"]);
    check.env("DATABASE_URL", OsStr::from_bytes(b"postgre\xff://user@localhost/database"));
    assert!(run_refused(check).contains("the database URL is not of the form"));
}

#[tokio::test]
async fn a_database_that_loses_acknowledged_writes_is_rejected() {
    let database = TestDatabase::create().await;
    for subcommand in [&["serve"][..], &["config", "check"]] {
        let mut command = on(&database, subcommand);
        command.env_remove("CUSTOMER_MATCH_ALLOW_DATA_LOSS");
        let said = run_refused(command);
        assert!(said.starts_with("error: Postgres runs with fsync = off"), "{said}");
        assert!(said.contains("--allow-data-loss"), "{said}");
    }
    let checked = run_json(on(&database, &["config", "check", "--format", "json"]));
    assert_eq!(checked, json!({ "valid": true, "databaseChecked": true }));
}

#[rstest]
#[case::user_without_host("postgres://{user}:secret@/{database}?host={socket}&port={port}")]
#[case::nothing_but_the_database("postgres:///{database}?host={socket}&port={port}&user={user}")]
#[case::all_as_parameters("postgresql://?host={socket}&port={port}&user={user}&dbname={database}")]
#[case::port_without_host("postgres://{user}@:{port}/{database}?host={socket}")]
#[tokio::test]
async fn a_database_url_may_name_the_socket_as_libpq_does(#[case] form: &str) {
    let service = Service::start().await;
    let options = service.database.options();
    let Some(socket) = options.get_socket() else { return };
    let url = form
        .replace("{user}", options.get_username())
        .replace("{database}", service.database.name())
        .replace("{socket}", socket.to_str().unwrap())
        .replace("{port}", &options.get_port().to_string());
    let mut list = on(&service.database, &["organisation", "list"]);
    list.env("DATABASE_URL", &url);
    assert!(run(list).contains("Acme"), "{url}");
}
