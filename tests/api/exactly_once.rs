//! A write takes effect once, and never after its answer, whatever the network does to its attempts.

use axum::http::Request;
use chrono::{DateTime, TimeDelta, Utc};
use customer_match::db::{Layout, customer_delete};
use customer_match::domain::{
    CuRefNo, Match, NamedCustomer, Notice, Precondition, ProfileChanges, ProfileText, ProfileUpdate, Unmatch,
    Versions,
};
use customer_match::group_commit::{GroupCommit, Submitter};
use futures_util::future::join;
use rstest::rstest;
use serde_json::json;
use sqlx::PgPool;

use crate::support::{
    Answer, CREATE, CUSTOMER, DETAIL, HELD, MAGIC_AUTH, MATCH, Mode, Proxy, Service, UNMATCH, UPDATE,
    json_request, skip,
};

/// A service whose way to the database loses and delays what it carries, with the customer that [`Mode::Hold`] looks for.
async fn service_behind_a_proxy() -> (Service, Proxy) {
    service_with_request_timeout("59m").await
}

async fn service_with_request_timeout(timeout: &str) -> (Service, Proxy) {
    let flags = ["--request-timeout", timeout, "--body-timeout", "1s", "--shutdown-timeout", "1h"];
    let (service, proxy) = Service::start_behind_a_proxy(&flags).await;
    service.add_customer(HELD, None).await;
    // The writer is connected from now on.
    service
        .post_match(json!({ "managerCuRefNo": CUSTOMER, "customerEmail": "first@example.com" }))
        .await
        .assert_success();
    (service, proxy)
}

/// Another server on the same database, with a way of its own.
fn another_server(service: &Service) -> GroupCommit {
    service.database.group_commit()
}

fn pair(notice: Option<&str>) -> serde_json::Value {
    json!({ "managerCuRefNo": HELD, "customerCuRefNo": CUSTOMER, "notice": notice })
}

fn represented(service: &Service, body: &serde_json::Value) -> Request<axum::body::Body> {
    let request = json_request(&format!("{MATCH}?apiKey={}", service.key));
    request.header("prefer", "return=representation").body(body.to_string().into()).unwrap()
}

const HOLD: Mode = Mode::Hold { then_swallow: false };

#[tokio::test]
async fn a_match_that_arrives_late_changes_nothing() {
    let (service, proxy) = service_behind_a_proxy().await;
    proxy.set(HOLD);
    let matched = service.call(represented(&service, &pair(Some("late")))).await;
    assert_eq!((matched.status, &matched.body["outcome"]), (200, &json!("created")), "the second attempt");
    service.post_to(UNMATCH, pair(None)).await.assert_success();
    proxy.release().await;
    assert!(service.relations().await.contains(&format!("{CUSTOMER}<{HELD} late (inactive)")));
}

#[tokio::test]
async fn an_unmatch_that_arrives_late_changes_nothing() {
    let (service, proxy) = service_behind_a_proxy().await;
    service.post_match(pair(None)).await.assert_success();
    proxy.set(HOLD);
    service.post_to(UNMATCH, pair(None)).await.assert_success();
    service.post_match(pair(Some("again"))).await.assert_success();
    proxy.release().await;
    assert!(service.relations().await.contains(&format!("{CUSTOMER}<{HELD} again")));
}

#[rstest]
#[case::create(CREATE)]
#[case::magic_auth(MAGIC_AUTH)]
#[tokio::test]
async fn a_registration_that_arrives_late_registers_nobody(#[case] path: &str) {
    let (service, proxy) = service_behind_a_proxy().await;
    proxy.set(HOLD);
    let eva = json!({ "email": "eva@example.com", "firstName": HELD });
    assert_eq!(service.post_to(path, eva).await.status, 200);
    let reference: String =
        sqlx::query_scalar("select cu_ref_no from customer where email = 'eva@example.com'")
            .fetch_one(&service.pool)
            .await
            .unwrap();
    let reason = ProfileText::parse("asked for it").unwrap();
    customer_delete::delete(
        &service.pool,
        service.organisation,
        &CuRefNo::parse(reference).unwrap(),
        &reason,
    )
    .await
    .unwrap();
    proxy.release().await;
    let living = "select count(*) from customer where email = 'eva@example.com' and living";
    assert_eq!(sqlx::query_scalar::<_, i64>(living).fetch_one(&service.pool).await.unwrap(), 0);
}

/// The database cannot be reached any more, so nothing but the time in the attempt can fence it; also where the end of the
/// request comes before that of its write.
#[rstest]
#[tokio::test]
async fn an_attempt_that_arrives_after_a_503_changes_nothing(#[values("59m", "3s")] timeout: &str) {
    let (service, proxy) = service_with_request_timeout(timeout).await;
    proxy.set(Mode::Hold { then_swallow: true });
    service.post_match(pair(Some("old"))).await.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
    let newer = Match {
        manager: CuRefNo::parse(HELD).unwrap(),
        customer: NamedCustomer::CuRefNo(CuRefNo::parse(CUSTOMER).unwrap()),
        notice: Some(Notice::parse("new").unwrap()),
        representation: false,
    };
    another_server(&service).match_customers(Submitter::new(service.organisation), newer).await.unwrap();
    proxy.release().await;
    proxy.set(Mode::Pass);
    assert!(service.relations().await.contains(&format!("{CUSTOMER}<{HELD} new")));
}

fn phone_update(phone: &str) -> ProfileUpdate {
    let phone = ProfileText::parse(phone).unwrap();
    ProfileUpdate {
        customer: NamedCustomer::CuRefNo(CuRefNo::parse(HELD).unwrap()),
        changes: ProfileChanges { phone: Some(Some(phone)), ..ProfileChanges::default() },
    }
}

async fn phone(pool: &PgPool) -> Option<String> {
    let phone = sqlx::query_scalar("select phone from customer where cu_ref_no = $1").bind(HELD);
    phone.fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn an_update_that_arrives_late_changes_nothing() {
    let (service, proxy) = service_behind_a_proxy().await;
    proxy.set(HOLD);
    let updated = service.post_to(UPDATE, json!({ "cuRefNo": HELD, "phone": "late" })).await;
    assert_eq!((updated.status, &updated.body["phone"]), (200, &json!("late")), "the second attempt");
    let newer = service.post_to(UPDATE, json!({ "cuRefNo": HELD, "phone": "new" })).await;
    assert_eq!(newer.status, 200);
    proxy.release().await;
    assert_eq!(phone(&service.pool).await.as_deref(), Some("new"));
}

/// Observed and replaced by others, an update is not done again, and its client is told what it did.
#[tokio::test]
async fn an_update_whose_answer_was_lost_is_not_made_again() {
    let (service, proxy) = service_behind_a_proxy().await;
    let other = another_server(&service);
    let direct = PgPool::connect_lazy_with(service.database.options());
    proxy.set(Mode::CutAnswer { then_refuse: true });
    let (updated, ()) = join(service.post_to(UPDATE, json!({ "cuRefNo": HELD, "phone": "once" })), async {
        while phone(&direct).await.as_deref() != Some("once") {}
        let newer = phone_update("new");
        other.update_customer(Submitter::new(service.organisation), newer).await.unwrap();
        proxy.set(Mode::Pass);
    })
    .await;
    assert_eq!((updated.status, &updated.body["phone"]), (200, &json!("once")));
    assert_eq!(phone(&direct).await.as_deref(), Some("new"));
}

/// Observed and undone by others, a write is not done again, and its client is told what it did.
#[tokio::test]
async fn an_attempt_whose_answer_was_lost_is_not_made_again() {
    let (service, proxy) = service_behind_a_proxy().await;
    let other = another_server(&service);
    let direct = PgPool::connect_lazy_with(service.database.options());
    proxy.set(Mode::CutAnswer { then_refuse: true });
    let unmatch = Unmatch {
        manager: CuRefNo::parse(HELD).unwrap(),
        customer: CuRefNo::parse(CUSTOMER).unwrap(),
        representation: false,
    };
    let (matched, ()) = join(service.call(represented(&service, &pair(Some("once")))), async {
        while !sqlx::query_scalar::<_, bool>(
            "select exists (select 1 from customer_match where notice = 'once')",
        )
        .fetch_one(&direct)
        .await
        .unwrap()
        {}
        let submitter = Submitter::new(service.organisation);
        other.unmatch_customers(submitter, unmatch, Precondition::default()).await.unwrap();
        proxy.set(Mode::Pass);
    })
    .await;
    assert_eq!((matched.status, &matched.body["outcome"]), (200, &json!("created")));
    assert_eq!(matched.body["relation"]["notice"], "once");
    assert!(service.relations().await.contains(&format!("{CUSTOMER}<{HELD} once (inactive)")));
}

#[tokio::test]
async fn what_a_lost_answer_said_is_told() {
    let (service, proxy) = service_behind_a_proxy().await;
    let cut = || proxy.set(Mode::CutAnswer { then_refuse: false });

    cut();
    let guest = json!({ "managerCuRefNo": HELD, "customerEmail": "guest@example.com" });
    let matched = service.call(represented(&service, &guest)).await;
    assert_eq!(
        (&matched.body["outcome"], &matched.body["customerCreated"]),
        (&json!("created"), &json!(true))
    );

    cut();
    service.post_to(UNMATCH, pair(None)).await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    let guest =
        sqlx::query_scalar::<_, String>("select cu_ref_no from customer where email = 'guest@example.com'");
    let guest = guest.fetch_one(&service.pool).await.unwrap();
    cut();
    let unmatched = json!({ "managerCuRefNo": guest, "customerCuRefNo": HELD });
    service.post_to(UNMATCH, unmatched).await.assert_success();

    cut();
    let created = service.post_to(CREATE, json!({ "email": "new@example.com", "firstName": HELD })).await;
    assert_eq!((created.status, &created.body["created"]), (200, &json!(true)));

    cut();
    let identity = service.log_in(&format!("{HELD}@example.com")).await;
    assert_eq!(service.get_from(DETAIL, &[("identityId", &identity)]).await.status, 200);
}

/// The answer to a call about the pair with this condition.
async fn call_if(service: &Service, path: &str, notice: &str, condition: (&str, &str)) -> Answer {
    let (name, value) = condition;
    let request = json_request(&format!("{path}?apiKey={}", service.key)).header(name, value);
    let request = request.header("prefer", "return=representation");
    service.call(request.body(pair(Some(notice)).to_string().into()).unwrap()).await
}

/// A conditional write that took effect is not answered 412: its own attempt is not what it is compared with.
#[rstest]
#[case::lost_answer(Mode::CutAnswer { then_refuse: false })]
#[case::late_attempt(HOLD)]
#[tokio::test]
async fn a_condition_that_held_has_held_whatever_becomes_of_the_answer(#[case] mode: Mode) {
    let (service, proxy) = service_behind_a_proxy().await;
    for (path, notice, condition, version) in [
        (MATCH, "v1", ("if-none-match", "*"), 1),
        (MATCH, "v2", ("if-match", "\"1\""), 2),
        (UNMATCH, "", ("if-match", "\"2\""), 3),
    ] {
        proxy.set(mode);
        let answer = call_if(&service, path, notice, condition).await;
        assert_eq!(answer.status, 200, "{path}: {:#}", answer.body);
        assert_eq!(answer.body["relation"]["version"], version);
        if mode == HOLD {
            proxy.release().await;
        }
        proxy.set(Mode::Pass);
    }
    assert!(service.relations().await.contains(&format!("{CUSTOMER}<{HELD} v2 (inactive)")));
}

/// Also if another client has edited the relation before the answer could be asked for again.
#[tokio::test]
async fn a_condition_that_held_is_not_looked_at_again() {
    let (service, proxy) = service_behind_a_proxy().await;
    let direct = PgPool::connect_lazy_with(service.database.options());
    let other = another_server(&service);
    proxy.set(Mode::CutAnswer { then_refuse: true });
    let theirs = Match {
        manager: CuRefNo::parse(HELD).unwrap(),
        customer: NamedCustomer::CuRefNo(CuRefNo::parse(CUSTOMER).unwrap()),
        notice: Some(Notice::parse("theirs").unwrap()),
        representation: false,
    };
    let (mine, ()) = join(call_if(&service, MATCH, "mine", ("if-none-match", "*")), async {
        let is_written = "select exists (select 1 from customer_match where notice = 'mine')";
        while !sqlx::query_scalar::<_, bool>(is_written).fetch_one(&direct).await.unwrap() {}
        let if_match = Some(Versions::Of(vec![1]));
        let first_version = Precondition { if_match, ..Precondition::default() };
        other.match_customers_if(Submitter::new(service.organisation), theirs, first_version).await.unwrap();
        proxy.set(Mode::Pass);
    })
    .await;
    assert_eq!((mine.status, &mine.body["outcome"]), (200, &json!("created")));
    assert_eq!(
        (&mine.body["relation"]["notice"], &mine.headers["etag"]),
        (&json!("mine"), &"\"1\"".parse().unwrap())
    );
    assert!(service.relations().await.contains(&format!("{CUSTOMER}<{HELD} theirs")));
}

/// One attempt of an empty batch; the error's code if it is rejected.
async fn attempt(
    pool: &PgPool,
    place: i64,
    number: i64,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
) -> Option<String> {
    let attempt = sqlx::query(
        "select from write_batch_at($4, 1, $1, $2, $3, '10ms', null, null, null, null, null, null, null, null)",
    );
    let result = attempt.bind(number).bind(not_before).bind(not_after).bind(place).execute(pool).await;
    result.err().map(|error| error.as_database_error().unwrap().code().unwrap().into_owned())
}

#[tokio::test]
async fn the_database_rejects_attempts_out_of_their_turn_and_time() {
    let service = Service::start().await;
    let place = match service.database.layout() {
        Layout::Single => 0,
        Layout::Distributed => service.organisation,
    };
    service
        .execute(&format!(
            "insert into write_receipt (organisation_id, writer_id, batch_number) values ({place}, 1, 0)"
        ))
        .await;
    let pool = &service.pool;
    let attempt =
        async |number, not_before, not_after| attempt(pool, place, number, not_before, not_after).await;
    let now: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await.unwrap();
    let hour = TimeDelta::hours(1);
    let fits = async |number| attempt(number, now - hour, now + hour).await;

    assert_eq!(attempt(1, now - hour, now).await.as_deref(), Some("WB001"), "late");
    assert_eq!(
        attempt(1, now + hour, now + hour * 2).await.as_deref(),
        Some("WB001"),
        "the clock was set back"
    );
    assert_eq!(fits(2).await.as_deref(), Some("WB002"), "the batch before it is missing");
    assert_eq!(fits(1).await, None);
    assert_eq!(fits(1).await.as_deref(), Some("WB002"), "twice");
    service.execute("update write_receipt set fenced = true").await;
    assert_eq!(fits(2).await.as_deref(), Some("WB002"), "fenced");
}

/// Puts a clock of our own before Postgres' in all sessions from now on; [`set_clock`] sets it.
async fn replace_clock(service: &Service) {
    let sql = "create schema fake;
               create table fake.clock as select interval '0' as step;
               create function fake.clock_timestamp() returns timestamptz language sql volatile
                 as 'select pg_catalog.clock_timestamp() + step from fake.clock';
               do $$ begin
                 execute format('alter database %I set search_path = fake, public, pg_catalog', current_database());
               end $$";
    service.execute(sql).await;
}

async fn set_clock(service: &Service, step: &str) {
    service.execute(&format!("update fake.clock set step = '{step}'")).await;
}

/// Hours forward and back, and by less than the time since the writer has read it.
#[tokio::test]
async fn writers_go_on_when_the_clock_is_set() {
    let service = Service::start().await;
    if skip("exactly_once::writers_go_on_when_the_clock_is_set", &service.database) {
        return;
    }
    replace_clock(&service).await;
    for (step, notice) in
        [("0", "a"), ("1 hour", "b"), ("-1 hour", "c"), ("-1 hour -1 ms", "d"), ("1 hour", "e")]
    {
        set_clock(&service, step).await;
        let body =
            json!({ "managerCuRefNo": CUSTOMER, "customerEmail": "eva@example.com", "notice": notice });
        service.post_match(body).await.assert_success();
    }
}

/// An attempt that was given up on is fenced by its writer's receipt too, which no clock undoes.
#[rstest]
#[tokio::test]
async fn a_clock_that_is_set_does_not_let_a_late_attempt_in(
    #[values("-1 hour", "-5 s", "1 hour")] step: &str,
) {
    let (service, proxy) = Service::start_behind_a_proxy(&[]).await;
    if skip("exactly_once::a_clock_that_is_set_does_not_let_a_late_attempt_in", &service.database) {
        return;
    }
    replace_clock(&service).await;
    service.add_customer(HELD, None).await;
    proxy.set(HOLD);
    service.post_match(pair(Some("late"))).await.assert_success();
    service.post_to(UNMATCH, pair(None)).await.assert_success();
    set_clock(&service, step).await;
    proxy.release().await;
    assert_eq!(service.relations().await, [format!("{CUSTOMER}<{HELD} late (inactive)")]);
}

/// Nothing but the row that it needs keeps a write waiting, and in the end its client is told.
#[tokio::test]
async fn a_write_of_a_locked_pair_is_answered_503_in_the_end() {
    let service = Service::start().await;
    service.add_customer(HELD, None).await;
    service.post_match(pair(None)).await.assert_success();
    let mut lock = service.pool.begin().await.unwrap();
    sqlx::query("select from customer_match where organisation_id = 1 for update")
        .execute(&mut *lock)
        .await
        .unwrap();
    let blocked = service.post_match(pair(Some("blocked"))).await;
    blocked.assert_error(503, "INTERNAL_SERVICE_UNAVAILABLE");
    lock.rollback().await.unwrap();
    assert!(
        service.relations().await.contains(&format!("{CUSTOMER}<{HELD}")),
        "and nothing is written later"
    );
}
