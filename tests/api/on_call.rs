//! The questions of an operator on call, answered by the metrics: which organisation, since when, why.

use std::collections::HashMap;
use std::time::Instant;

use customer_match::db::api_key::{self, NewKey};
use customer_match::db::organisation;
use customer_match::domain::{ApiKey, KeyKind};
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::{CUSTOMER, MANAGER, MATCH, Service, skip};

/// What the database sleeps at each match, in seconds.
const SLOW: f64 = 0.3;

/// The samples of one moment.
struct Scrape(HashMap<String, f64>);

impl Scrape {
    async fn of(service: &Service) -> Self {
        let text = service.metrics().await;
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.strip_prefix("customer_match_").unwrap_or(series).to_owned(), value.parse().unwrap())
        });
        Self(samples.collect())
    }

    /// Zero if there is no such series.
    fn value(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    /// By how much a counter has grown since: what Prometheus shows between two scrapes.
    fn increase(&self, earlier: &Self, series: &str) -> f64 {
        assert!(self.0.contains_key(series), "there is no {series}");
        self.value(series) - earlier.value(series)
    }
}

fn pair() -> Value {
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER })
}

/// An organisation with the two customers of the example, and its id. Its key may be used so many times a minute.
async fn tenant(service: &Service, name: &str, limit_per_minute: u32) -> (i64, String) {
    let organisation = organisation::create(&service.pool, name).await.unwrap().unwrap();
    let key = ApiKey::generate(KeyKind::Prod);
    let new = NewKey { limit_per_minute: Some(limit_per_minute), ..NewKey::default() };
    api_key::create(&service.pool, organisation.id, &key, &new).await.unwrap().unwrap();
    for customer in [MANAGER, CUSTOMER] {
        service.add_customer_of(organisation.id, customer, None).await;
    }
    (organisation.id, format!("{MATCH}?apiKey={}", key.expose()))
}

#[tokio::test]
async fn which_organisation_floods() {
    let service = Service::start().await;
    let (flooding, uri) = tenant(&service, "Flooding", 20).await;
    service.post_match(pair()).await.assert_success();
    let before = Scrape::of(&service).await;
    for _ in 0..50 {
        service.post(&uri, pair()).await;
    }
    service.post_match(pair()).await.assert_success();
    let now = Scrape::of(&service).await;

    let requests =
        |id: i64| now.increase(&before, &format!("organisation_requests_total{{organisation=\"{id}\"}}"));
    assert_eq!((requests(service.organisation), requests(flooding)), (1.0, 50.0));
    let matches = format!("organisation_matches_total{{organisation=\"{flooding}\"}}");
    assert_eq!(now.increase(&before, &matches), 20.0);
    let at_its_limit = |id: i64| {
        let labels = format!("organisation=\"{id}\",code=\"PUBLIC_API_KEY_TOO_MANY_REQUEST\"");
        now.value(&format!("organisation_errors_total{{{labels}}}"))
    };
    assert_eq!((at_its_limit(service.organisation), at_its_limit(flooding)), (0.0, 30.0));
}

#[tokio::test]
async fn which_organisation_has_a_locked_row() {
    let service = Service::start().await;
    let (locked, uri) = tenant(&service, "Locked", 1000).await;
    service.post(&uri, pair()).await.assert_success();
    let mut operator = PgConnection::connect_with(&service.database.options()).await.unwrap();
    let lock = format!("begin; select from customer_match where organisation_id = {locked} for update");
    sqlx::raw_sql(&lock).execute(&mut operator).await.unwrap();

    let notice = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "notice": "another" });
    let (answer, ()) = tokio::join!(service.post(&uri, notice), async {
        let blocked = |id: i64| format!("organisation_writes_blocked{{organisation=\"{id}\"}}");
        let mut now = Scrape::of(&service).await;
        while now.value(&blocked(locked)) != 1.0 {
            now = Scrape::of(&service).await;
        }
        assert_eq!(now.value("match_writes_blocked"), 1.0);
        service.post_match(pair()).await.assert_success();
        let now = Scrape::of(&service).await;
        assert_eq!(now.value(&blocked(service.organisation)), 0.0, "others are not blocked");
        sqlx::raw_sql("rollback").execute(&mut operator).await.unwrap();
    });
    answer.assert_success();
    assert_eq!(Scrape::of(&service).await.value("match_writes_blocked"), 0.0);
}

/// A slow disk shows in the commit and not in the statement; work of the database, such as a trigger, in the statement.
#[rstest]
#[case::slow_disk("initially deferred", "match_batch_commit_seconds", "match_batch_statement_seconds")]
#[case::slow_statement("initially immediate", "match_batch_statement_seconds", "match_batch_commit_seconds")]
#[tokio::test]
async fn whether_the_disk_is_slow(#[case] when: &str, #[case] slow: &str, #[case] other: &str) {
    let service = Service::start().await;
    if skip("on_call::whether_the_disk_is_slow", &service.database) {
        return;
    }
    service
        .execute(&format!(
            "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep({SLOW}); return null; end $$;
             create constraint trigger slow after insert on customer_match deferrable {when}
                 for each row execute function slow()"
        ))
        .await;
    let before = Scrape::of(&service).await;
    let began = Instant::now();
    service.post_match(pair()).await.assert_success();
    let all = began.elapsed().as_secs_f64();
    let now = Scrape::of(&service).await;

    let sum = |name: &str| now.increase(&before, &format!("{name}_sum"));
    assert!(sum(slow) >= SLOW, "{}", sum(slow));
    assert_eq!(now.increase(&before, &format!("{slow}_bucket{{le=\"0.25\"}}")), 0.0);
    // What is in the one is not in the other.
    assert!(
        sum(slow) + sum(other) + sum("match_queue_wait_seconds") <= all,
        "{slow}: {}, {other}: {}, of {all}",
        sum(slow),
        sum(other)
    );
}
