//! Pending matches in one batch (see `group_commit`): each gets its own outcome, whatever becomes of its neighbours.

use std::pin::Pin;

use customer_match::db::Layout;
use customer_match::domain::{Change, CuRefNo, Email, Match, Matched, NamedCustomer, Notice};
use customer_match::group_commit::{GroupCommit, Submitter, WriteError};
use futures_util::future::{join, join_all, join4};
use rstest::rstest;
use sqlx::{Connection, PgConnection};

use crate::support::{CUSTOMER, LockWait, LockWaits, MANAGER, Service};

fn wanted(manager: &str, customer: NamedCustomer, notice: Option<&str>) -> Match {
    Match {
        manager: CuRefNo::parse(manager).unwrap(),
        customer,
        notice: notice.map(|text| Notice::parse(text).unwrap()),
        representation: false,
    }
}

fn by_cu_ref_no(cu_ref_no: &str) -> NamedCustomer {
    NamedCustomer::CuRefNo(CuRefNo::parse(cu_ref_no).unwrap())
}

fn by_email(email: &str) -> NamedCustomer {
    NamedCustomer::Email(Email::parse(email).unwrap())
}

fn group_commit(service: &Service) -> GroupCommit {
    service.database.group_commit()
}

/// Keeps every writer of the service's database waiting until it is released.
struct Stall {
    lock: PgConnection,
    waits: LockWaits,
}

impl Stall {
    async fn begin(service: &Service) -> Self {
        let mut connection = PgConnection::connect_with(&service.pool.connect_options()).await.unwrap();
        sqlx::raw_sql("begin; lock table customer_match in exclusive mode")
            .execute(&mut connection)
            .await
            .unwrap();
        Self { lock: connection, waits: service.database.lock_waits().await }
    }

    /// Comes back when a writer has run into it, with that writer's process id.
    async fn until_a_writer_waits(&mut self) -> i32 {
        self.waits.until(LockWait::is_of_a_writer).await.pid
    }

    async fn release(mut self) {
        sqlx::raw_sql("commit").execute(&mut self.lock).await.unwrap();
        self.lock.close().await.unwrap();
    }
}

/// Submits all of them before a writer runs, so that they make one batch.
async fn in_one_batch(service: &Service, matches: Vec<Match>) -> Vec<Result<Matched, WriteError>> {
    let group_commit = group_commit(service);
    let submit = |wanted| group_commit.match_customers(Submitter::new(service.organisation), wanted);
    join_all(matches.into_iter().map(submit)).await
}

/// How many batches have been committed.
async fn batches(service: &Service) -> i64 {
    let sum = sqlx::query_scalar("select sum(batch_number)::int8 from write_receipt");
    sum.fetch_one(&service.pool).await.unwrap()
}

fn change(result: &Result<Matched, WriteError>) -> Change {
    result.as_ref().unwrap().change
}

#[tokio::test]
async fn one_pair_twice_in_a_batch_is_written_in_order() {
    let service = Service::start().await;
    let pair = |notice| wanted(MANAGER, by_cu_ref_no(CUSTOMER), notice);
    let reversed = wanted(CUSTOMER, by_cu_ref_no(MANAGER), None);
    let by_address = wanted(MANAGER, by_email("jan@barasek.com"), Some("by address"));
    let matches =
        vec![pair(Some("first")), pair(None), reversed, pair(Some("last")), pair(Some("last")), by_address];
    let outcomes = in_one_batch(&service, matches).await;
    let changes: Vec<_> = outcomes.iter().map(change).collect();
    assert_eq!(
        changes,
        [
            Change::Created,
            Change::Unchanged,
            Change::Updated,
            Change::Updated,
            Change::Unchanged,
            Change::Updated
        ]
    );
    assert!(service.relations().await.contains(&"1cGIHvFoQDGLAbcA<>5CmsaVNgAQqRqoen by address".into()));
    // Only the pair's other name needed another batch.
    assert_eq!(batches(&service).await, 2);
}

#[tokio::test]
async fn many_matches_of_one_pair_take_few_batches() {
    let service = Service::start().await;
    let matches = (0..400).map(|i| wanted(MANAGER, by_cu_ref_no(CUSTOMER), Some(&i.to_string())));
    let outcomes = in_one_batch(&service, matches.collect()).await;
    assert_eq!(change(&outcomes[0]), Change::Created);
    assert!(outcomes[1..].iter().all(|outcome| change(outcome) == Change::Updated));
    let written: (i64, i64) = sqlx::query_as("select count(*), max(version) from customer_match")
        .fetch_one(&service.pool)
        .await
        .unwrap();
    assert_eq!(written, (1, 400), "each was written");
    // Two, unless the machine is so busy that the second batch meets the lock of the first.
    let batches = batches(&service).await;
    assert!(batches <= 20, "{batches}");
}

#[tokio::test]
async fn a_new_address_twice_in_a_batch_is_one_guest() {
    let service = Service::start().await;
    let matches = vec![
        wanted(MANAGER, by_email("guest@example.com"), None),
        wanted(CUSTOMER, by_email("guest@example.com"), None),
        wanted(MANAGER, by_email("guest@example.com"), Some("same pair")),
    ];
    let outcomes = in_one_batch(&service, matches).await;
    let created: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap().customer_created).collect();
    assert_eq!(created, [true, false, false]);
    let changes: Vec<_> = outcomes.iter().map(change).collect();
    assert_eq!(changes, [Change::Created, Change::Created, Change::Updated]);
    assert_eq!(service.count("customer").await, 3, "the two and one guest");
}

#[tokio::test]
async fn refusals_in_a_batch_are_told_apart() {
    let service = Service::start().await;
    let matches = vec![
        wanted("0000000000000000", by_email("nobody@example.com"), None),
        wanted(MANAGER, by_cu_ref_no("1111111111111111"), None),
        wanted(MANAGER, by_cu_ref_no(MANAGER), None),
        wanted(MANAGER, by_cu_ref_no(CUSTOMER), None),
    ];
    let outcomes = in_one_batch(&service, matches).await;
    assert!(
        matches!(&outcomes[0], Err(WriteError::CustomerNotFound(missing)) if missing.as_str().starts_with('0'))
    );
    assert!(
        matches!(&outcomes[1], Err(WriteError::CustomerNotFound(missing)) if missing.as_str().starts_with('1'))
    );
    assert!(matches!(&outcomes[2], Err(WriteError::SameCustomer)));
    assert_eq!(change(&outcomes[3]), Change::Created);
    assert_eq!(service.count("customer").await, 2, "no guest of a call that fails");
}

#[tokio::test]
async fn what_cannot_be_written_fails_alone() {
    let service = Service::start().await;
    service.execute("alter table customer_match add constraint poison check (notice <> 'poison')").await;
    let matches = (0..6)
        .map(|i| {
            let notice = if i == 3 { "poison" } else { "fine" };
            wanted(MANAGER, by_email(&format!("guest{i}@example.com")), Some(notice))
        })
        .collect();
    let outcomes = in_one_batch(&service, matches).await;
    let written: Vec<_> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(written, [true, true, true, false, true, true]);
    assert_eq!(service.count("customer").await, 2 + 5, "no guest of the one that failed");
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_is_not_noticed_outside() {
    let service = Service::start().await;
    let group_commit = group_commit(&service);
    let mut stall = Stall::begin(&service).await;
    let call = group_commit.match_customers(
        Submitter::new(service.organisation),
        wanted(MANAGER, by_cu_ref_no(CUSTOMER), Some("kept")),
    );
    let (outcome, ()) = join(call, async {
        let writer = stall.until_a_writer_waits().await;
        sqlx::query("select pg_terminate_backend($1)").bind(writer).execute(&service.pool).await.unwrap();
        stall.release().await;
    })
    .await;
    assert_eq!(change(&outcome), Change::Created);
    assert_eq!(service.relations().await, ["1cGIHvFoQDGLAbcA>5CmsaVNgAQqRqoen kept"]);
}

/// Whether its relation is new or has ended before: what it locks then differs.
#[rstest]
#[tokio::test]
async fn a_customer_that_is_deleted_between_look_and_write_is_not_matched(
    #[values(false, true)] ended: bool,
) {
    let service = Service::start().await;
    let group_commit = group_commit(&service);
    let call = || {
        group_commit.match_customers(
            Submitter::new(service.organisation),
            wanted(MANAGER, by_cu_ref_no(CUSTOMER), None),
        )
    };
    if ended {
        call().await.unwrap();
        service.execute("update customer_match set deactivated_at = now(), updated_at = now()").await;
    }
    let mut stall = Stall::begin(&service).await;
    let (outcome, ()) = join(call(), async {
        stall.until_a_writer_waits().await;
        // As the command does it, which would wait for the stall.
        let deletion =
            "update customer set deleted_at = now() where organisation_id = 1 and email = 'jan@barasek.com'";
        sqlx::raw_sql(deletion).execute(&mut stall.lock).await.unwrap();
        stall.release().await;
    })
    .await;
    assert!(matches!(outcome, Err(WriteError::CustomerNotFound(_))), "{outcome:?}");
    assert!(service.relations().await.iter().all(|relation| relation.ends_with("(inactive)")));
}

#[tokio::test]
async fn a_match_whose_caller_has_gone_is_forgotten_while_it_waits() {
    let service = Service::start().await;
    let group_commit = group_commit(&service);
    let mut stall = Stall::begin(&service).await;
    let first = group_commit
        .match_customers(Submitter::new(service.organisation), wanted(MANAGER, by_cu_ref_no(CUSTOMER), None));
    let (first, ()) = join(first, async {
        stall.until_a_writer_waits().await;
        let gone = group_commit.match_customers(
            Submitter::new(service.organisation),
            wanted(MANAGER, by_email("gone@example.com"), None),
        );
        let mut gone: Pin<Box<dyn Future<Output = _>>> = Box::pin(gone);
        assert!(futures_util::poll!(&mut gone).is_pending());
        drop(gone);
        stall.release().await;
    })
    .await;
    first.unwrap();
    // Behind it in the queue, so whatever would have become of it has.
    group_commit
        .match_customers(Submitter::new(service.organisation), wanted(CUSTOMER, by_cu_ref_no(MANAGER), None))
        .await
        .unwrap();
    assert_eq!(service.count("customer").await, 2);
}

#[tokio::test]
async fn a_full_queue_refuses_and_leaves_room_for_other_organisations() {
    let service = Service::start().await;
    let (other, _) = service.add_organisation("Other").await;
    service.add_customer_of(other, MANAGER, None).await;
    let group_commit = group_commit(&service);
    service
        .execute(&format!(
            "insert into customer (organisation_id, cu_ref_no)
             select {}, 'flood' || lpad(i::text, 11, '0') from generate_series(0, 1099) i",
            service.organisation
        ))
        .await;
    let flood = (0..1100).map(|i| {
        let customer = by_cu_ref_no(&format!("flood{i:011}"));
        group_commit.match_customers(Submitter::new(service.organisation), wanted(MANAGER, customer, None))
    });
    let stranger = group_commit
        .match_customers(Submitter::new(other), wanted(MANAGER, by_email("guest@example.com"), None));
    let (outcomes, stranger) = join(join_all(flood), stranger).await;
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(WriteError::Overloaded))).count();
    let room = match service.database.layout() {
        Layout::Single => 1024,
        Layout::Distributed => 512,
    };
    assert_eq!(refused, 1100 - room);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), room);
    assert_eq!(change(&stranger), Change::Created);
}

#[tokio::test]
async fn organisations_in_one_statement_do_not_mix() {
    let service = Service::start().await;
    let (other, _) = service.add_organisation("Other").await;
    service.add_customer_of(other, MANAGER, None).await;
    let group_commit = group_commit(&service);
    let ours = |customer, notice| {
        group_commit
            .match_customers(Submitter::new(service.organisation), wanted(MANAGER, customer, Some(notice)))
    };
    let theirs = |customer, notice| {
        group_commit.match_customers(Submitter::new(other), wanted(MANAGER, customer, Some(notice)))
    };
    let outcomes: [_; 4] = join4(
        ours(by_email("guest@example.com"), "ours"),
        ours(by_cu_ref_no(CUSTOMER), "both of them"),
        theirs(by_email("guest@example.com"), "theirs"),
        theirs(by_cu_ref_no(CUSTOMER), "of another organisation"),
    )
    .await
    .into();
    let created: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().ok().map(|outcome| outcome.customer_created))
        .collect();
    assert_eq!(created, [Some(true), Some(false), Some(true), None]);
    assert!(
        matches!(&outcomes[3], Err(WriteError::CustomerNotFound(missing)) if missing.as_str() == CUSTOMER)
    );
    let notices: Vec<(i64, String)> = sqlx::query_as(
        "select organisation_id, notice from customer_match where notice is not null order by notice",
    )
    .fetch_all(&service.pool)
    .await
    .unwrap();
    let ours = service.organisation;
    assert_eq!(notices, [(ours, "both of them".into()), (ours, "ours".into()), (other, "theirs".into())]);
}

/// Locks a customer as a merge does.
async fn lock_customer(service: &Service, cu_ref_no: &str) -> PgConnection {
    let mut connection = PgConnection::connect_with(&service.pool.connect_options()).await.unwrap();
    sqlx::raw_sql("begin").execute(&mut connection).await.unwrap();
    sqlx::query("select from customer where organisation_id = $1 and cu_ref_no = $2 for update")
        .bind(service.organisation)
        .bind(cu_ref_no)
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

#[tokio::test]
async fn an_organisation_that_waits_for_a_lock_delays_no_other() {
    let service = Service::start().await;
    let (other, _) = service.add_organisation("Other").await;
    service.add_customer_of(other, MANAGER, None).await;
    let group_commit = group_commit(&service);
    let mut lock = lock_customer(&service, CUSTOMER).await;
    let of_the_other = |guest: u32| {
        let customer = by_email(&format!("guest{guest}@example.com"));
        group_commit.match_customers(Submitter::new(other), wanted(MANAGER, customer, None))
    };
    let stuck = group_commit.match_customers(
        Submitter::new(service.organisation),
        wanted(MANAGER, by_cu_ref_no(CUSTOMER), Some("in the end")),
    );
    let (stuck, ()) = join(stuck, async {
        // In one batch with it, and while it waits.
        for first in join_all((0..10).map(of_the_other)).await {
            first.unwrap();
        }
        for guest in 10..20 {
            of_the_other(guest).await.unwrap();
        }
        sqlx::raw_sql("rollback").execute(&mut lock).await.unwrap();
    })
    .await;
    assert_eq!(change(&stuck), Change::Created, "it got its turn");
}

#[tokio::test]
async fn what_waits_is_answered_when_the_server_stops() {
    let service = Service::start().await;
    let group_commit = group_commit(&service);
    let mut stall = Stall::begin(&service).await;
    let waiting = group_commit.clone();
    let organisation = service.organisation;
    let call = tokio::spawn(async move {
        waiting
            .match_customers(Submitter::new(organisation), wanted(MANAGER, by_cu_ref_no(CUSTOMER), None))
            .await
    });
    stall.until_a_writer_waits().await;
    drop(group_commit);
    stall.release().await;
    assert_eq!(change(&call.await.unwrap()), Change::Created);
}
