//! A database or a role may have another default isolation level; every command works in read committed all the same.

use rstest::rstest;
use serde_json::json;

use crate::support::binary::{on, run, run_json};
use crate::support::import::file_of;
use crate::support::{CREATE, CUSTOMER, LOGOUT, LockWait, MAGIC_AUTH, MANAGER, Service, UNMATCH, skip};

const OTHER: &str = "otherCustomer001";

async fn set_default_level(service: &Service, level: &str) {
    let name = service.database.name();
    service.execute(&format!("alter database {name} set default_transaction_isolation = '{level}'")).await;
}

/// Records the level of each statement that writes.
const RECORD: &str = "
    create table recorded (level text);
    create function record() returns trigger language plpgsql as $$ begin
      insert into recorded values (current_setting('transaction_isolation'));
      return null;
    end $$;
    do $$ declare name text; begin
      foreach name in array array['organisation', 'api_key', 'customer', 'customer_match', 'customer_identity'] loop
        execute format('create trigger recorded after insert or update or delete on %I execute function record()', name);
      end loop;
    end $$";

#[rstest]
#[tokio::test]
async fn each_command_and_call_writes_in_read_committed(
    #[values("repeatable read", "serializable")] level: &str,
) {
    let service = Service::start().await;
    if skip("isolation_level::each_command_and_call_writes_in_read_committed", &service.database) {
        return;
    }
    service.add_customer(OTHER, None).await;
    service.execute(RECORD).await;
    set_default_level(&service, level).await;
    let service = service.restarted();
    let levels = async || -> Vec<String> {
        sqlx::query_scalar(
            "with taken as (delete from recorded returning level) select distinct level from taken",
        )
        .fetch_all(&service.pool)
        .await
        .unwrap()
    };

    let customers = file_of("email\nimported@example.com\n");
    let matches = file_of(format!("managerCuRefNo,customerEmail\n{MANAGER},matched@example.com\n"));
    let [customers, matches] = [&customers, &matches].map(|file| file.path().to_str().unwrap());
    let of_first = ["--organisation", "1"];
    let commands: [&[&str]; 9] = [
        &["organisation", "create", "Beta"],
        &["key", "create", "--kind", "prod", "--organisation", "1"],
        &["key", "set-limit", "2", "--limit-per-minute", "5"],
        &["key", "revoke", "2"],
        &["customer", "create", "--organisation", "1"],
        &[&["customer", "import", customers], &of_first[..]].concat(),
        &[&["match", "import", matches], &of_first[..]].concat(),
        &[&["customer", "merge", CUSTOMER, OTHER, "--yes"], &of_first[..]].concat(),
        &[&["customer", "delete", OTHER, "--reason", "test", "--yes"], &of_first[..]].concat(),
    ];
    for command in commands {
        run(on(&service.database, command));
        assert_eq!(levels().await, ["read committed"], "{command:?}");
    }

    let guest = json!({ "managerCuRefNo": MANAGER, "customerEmail": "guest@example.com" });
    service.post_match(guest).await.assert_success();
    assert_eq!(levels().await, ["read committed"]);
    let partner: String =
        sqlx::query_scalar("select cu_ref_no from customer where email = 'guest@example.com'")
            .fetch_one(&service.pool)
            .await
            .unwrap();
    let opened = service.post_to(MAGIC_AUTH, json!({ "email": "new@example.com" })).await;
    assert_eq!((opened.status, levels().await), (200, vec!["read committed".to_owned()]));
    let calls = [
        (UNMATCH, json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": partner })),
        (CREATE, json!({ "email": "another@example.com" })),
        (LOGOUT, json!({ "identityId": opened.body["identityId"] })),
    ];
    for (path, body) in calls {
        assert_eq!(service.post_to(path, body).await.status, 200, "{path}");
        assert_eq!(levels().await, ["read committed"], "{path}");
    }
}

/// A snapshot from before the match would lose it.
#[rstest]
#[case::delete(&["customer", "delete", CUSTOMER, "--reason", "test"], "relationsDeactivated")]
#[case::merge(&["customer", "merge", CUSTOMER, OTHER], "relations")]
#[tokio::test]
async fn a_match_that_is_waited_for_is_seen(
    #[case] command: &[&str],
    #[case] count: &str,
    #[values("repeatable read", "serializable")] level: &str,
) {
    let service = Service::start().await;
    service.add_customer(OTHER, None).await;
    set_default_level(&service, level).await;
    let mut matching = service.database.connect().await;
    let insert = format!(
        "begin; insert into customer_match (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager,
                                            created_at, matched_at, updated_at)
                values (1, '{MANAGER}', '{CUSTOMER}', true, false, now(), now(), now())"
    );
    sqlx::raw_sql(&insert).execute(&mut matching).await.unwrap();
    let arguments = [command, &["--organisation", "1", "--yes", "--format", "json"]].concat();
    let command = on(&service.database, &arguments);
    let running = tokio::task::spawn_blocking(move || run_json(command));
    service.database.lock_waits().await.until(LockWait::is_of_the_pool).await;
    sqlx::raw_sql("commit").execute(&mut matching).await.unwrap();
    assert_eq!(running.await.unwrap()[count], 1);
    let active_of_deleted = "select exists (
        select from customer_match m
        join customer c on c.organisation_id = 1 and c.cu_ref_no in (m.low_cu_ref_no, m.high_cu_ref_no)
        where m.organisation_id = 1 and m.deactivated_at is null and c.deleted_at is not null)";
    assert!(!sqlx::query_scalar::<_, bool>(active_of_deleted).fetch_one(&service.pool).await.unwrap());
}
