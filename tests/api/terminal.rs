//! What is different on a terminal: questions before what cannot be undone, and a bar.

use std::fmt::Write;

use crate::support::binary::{on, run};
use crate::support::import::file_of;
use crate::support::terminal::{WIDTH, run_on_terminal};
use crate::support::{CUSTOMER, MANAGER, Service};

async fn living(service: &Service) -> i64 {
    sqlx::query_scalar("select count(*) from customer where deleted_at is null")
        .fetch_one(&service.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_deletion_asks_first() {
    let service = Service::start().await;
    let delete = || {
        on(&service.database, &["customer", "delete", CUSTOMER, "--organisation", "1", "--reason", "test"])
    };
    for no in ["n\n", "\n", "what?\n"] {
        let (status, screen) = run_on_terminal(delete(), no);
        assert_eq!(status.code(), Some(1), "{screen}");
        assert!(
            screen.contains(&format!("Permanently delete customer {CUSTOMER} of organisation 1? [y/N]")),
            "{screen}"
        );
        assert!(screen.contains("nothing was changed"), "{screen}");
        assert_eq!(living(&service).await, 2);
    }
    let (status, screen) = run_on_terminal(delete(), "y\n");
    assert!(status.success() && screen.contains("is deleted"), "{screen}");
    assert_eq!(living(&service).await, 1);
}

#[tokio::test]
async fn a_merge_shows_what_it_would_do_and_asks() {
    let service = Service::start().await;
    let merge = || on(&service.database, &["customer", "merge", CUSTOMER, MANAGER, "--organisation", "1"]);
    let (status, screen) = run_on_terminal(merge(), "no\n");
    assert_eq!(status.code(), Some(1), "{screen}");
    assert!(screen.contains("would be merged into") && screen.contains("filled in: email"), "{screen}");
    assert_eq!(living(&service).await, 2);
    let (status, screen) = run_on_terminal(merge(), "YES\n");
    assert!(status.success() && screen.contains("is merged into"), "{screen}");
    assert_eq!(living(&service).await, 1);
}

#[tokio::test]
async fn an_import_shows_how_far_it_is() {
    let service = Service::start().await;
    let mut csv = "email\nnonsense\n".to_owned();
    for i in 0..2_000 {
        writeln!(csv, "c{i}@example.com").unwrap();
    }
    let file = file_of(csv);
    let import = ["customer", "import", file.path().to_str().unwrap(), "--organisation", "1", "--dry-run"];
    let mut command = on(&service.database, &import);
    command.env("TERM", "xterm");
    let (status, screen) = run_on_terminal(command, "");
    assert_eq!(status.code(), Some(1), "{screen}");
    assert!(screen.contains("1000 rows"), "{screen}");
    assert!(screen.contains("line 2: email must be"), "{screen}");
}

#[tokio::test]
async fn a_table_fits_it() {
    let service = Service::start().await;
    let description = "What this key is for, in more words than a terminal has room for on one line";
    let create = ["key", "create", "--organisation", "1", "--kind", "root", "--description", description];
    let scope = ["--scope", "customer.match"];
    run(on(&service.database, &[&create[..], &scope].concat()));
    let list = || on(&service.database, &["key", "list", "--organisation", "1"]);
    let (status, screen) = run_on_terminal(list(), "");
    assert!(status.success(), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= WIDTH), "{screen}");
    assert!(["ROOT", "customer.match", "words"].iter().all(|word| screen.contains(word)), "{screen}");
    let lines = run(list());
    assert!(lines.lines().count() == 3 && lines.contains(description), "{lines}");
}
