//! The rules beside the search, on histories written by hand.

use std::collections::HashMap;

use rstest::rstest;

use super::{Conditions, Tables, Violation, ViolationKind, check};
use crate::call::{Answer, Call, Request};
use crate::feed::{FeedReader, MANNERS, RelationRow, Relations};
use crate::interner::Symbol;
use crate::locks::Locked;
use crate::model::Time;
use crate::run::Run;

const SECOND: Time = 1_000_000_000;
const FAULTS: Conditions =
    Conditions { faults: true, only_locks: Vec::new(), tables: None, shards_move: false };

/// Times in seconds.
fn call(start: Time, end: Time, request: Request, answer: Answer) -> Call {
    Call { client: 0, start: start * SECOND, end: end * SECOND, request, answer }
}

fn log_out(start: Time, end: Time, answer: Answer) -> Call {
    call(start, end, Request::LogOut { id: 7, identity: Symbol::default() }, answer)
}

fn detail(start: Time, end: Time, valid: bool) -> Call {
    let answer = if valid { Answer::Detailed { reference: Symbol::default() } } else { Answer::NotLoggedIn };
    call(start, end, Request::Detail { id: 7, identity: Symbol::default() }, answer)
}

fn create(start: Time, end: Time, created: bool) -> Call {
    // The e-mail address is checked elsewhere: a log-in shows none.
    let request = Request::Create { id: 7 };
    call(
        start,
        end,
        request,
        Answer::Customer { created, reference: Symbol::default(), email: Symbol::default() },
    )
}

fn kinds(calls: Vec<Call>, conditions: &Conditions) -> Vec<ViolationKind> {
    let run = Run::of(calls);
    let violations = check(&run, conditions).violations;
    let is_other = |found: &&Violation| !found.text.starts_with("The normal form is");
    violations.iter().filter(is_other).map(|found| found.kind).collect()
}

#[rstest]
#[case::valid_until_logout(vec![detail(0, 1, true), log_out(2, 5, Answer::LoggedOut), detail(3, 4, true), detail(4, 6, false)], None)]
#[case::valid_after_logout(vec![log_out(2, 3, Answer::LoggedOut), detail(4, 5, true)], Some(ViolationKind::Missing))]
#[case::ended_before_logout(vec![detail(0, 1, false), log_out(2, 3, Answer::LoggedOut)], Some(ViolationKind::Missing))]
#[case::ended_without_logout(vec![detail(0, 1, false)], Some(ViolationKind::Missing))]
#[case::logged_out_twice(vec![log_out(0, 1, Answer::LoggedOut), log_out(2, 3, Answer::LoggedOut)], Some(ViolationKind::Doubled))]
#[case::told_of_the_second_attempt(vec![log_out(0, 1, Answer::NotLoggedIn)], Some(ViolationKind::Missing))]
#[case::unanswered_and_done(vec![log_out(0, 1, Answer::Unavailable), detail(2, 3, false)], None)]
#[case::unanswered_and_not_done(vec![log_out(0, 1, Answer::Unavailable), detail(2, 3, true)], None)]
#[case::unanswered_and_done_later(
    vec![log_out(0, 1, Answer::Unavailable), detail(2, 3, true), detail(4, 5, false)],
    Some(ViolationKind::Stale)
)]
#[case::lost_and_done_later(vec![log_out(0, 1, Answer::Lost), detail(2, 3, true), detail(4, 5, false)], None)]
#[case::lost_and_done_too_late(
    vec![log_out(0, 1, Answer::Lost), detail(11, 12, true), detail(13, 14, false)],
    Some(ViolationKind::Stale)
)]
fn sessions(#[case] mut calls: Vec<Call>, #[case] expected: Option<ViolationKind>) {
    calls.push(create(0, 0, true));
    assert_eq!(kinds(calls, &FAULTS), Vec::from_iter(expected));
}

#[rstest]
#[case::once(vec![create(0, 2, true), create(1, 3, false)], None)]
#[case::twice(vec![create(0, 1, true), create(2, 3, true)], Some(ViolationKind::Doubled))]
#[case::by_no_call(vec![create(0, 1, false)], Some(ViolationKind::Repeated))]
#[case::after_it_was_seen(vec![create(0, 1, false), create(2, 3, true)], Some(ViolationKind::Repeated))]
#[case::by_an_unanswered_call(
    vec![call(0, 1, Request::Create { id: 7 }, Answer::Unavailable), create(2, 3, false)],
    None
)]
fn creation(#[case] calls: Vec<Call>, #[case] expected: Option<ViolationKind>) {
    assert_eq!(kinds(calls, &FAULTS), Vec::from_iter(expected));
}

#[rstest]
#[case::write_in_time(Request::Create { id: 7 }, 9, None)]
#[case::late_write(Request::Create { id: 7 }, 11, Some(ViolationKind::Late))]
#[case::read_in_time(Request::List { of: 7 }, 20, None)]
#[case::late_read(Request::List { of: 7 }, 21, Some(ViolationKind::Late))]
fn deadlines(#[case] request: Request, #[case] end: Time, #[case] expected: Option<ViolationKind>) {
    assert_eq!(kinds(vec![call(0, end, request, Answer::Unavailable)], &FAULTS), Vec::from_iter(expected));
}

#[rstest]
#[case::of_the_pair(Locked::Relation(9, 7), None)]
#[case::of_a_side(Locked::Customer(9), None)]
#[case::of_another_pair(Locked::Relation(8, 7), Some(ViolationKind::NotIsolated))]
#[case::of_another_customer(Locked::Customer(8), Some(ViolationKind::NotIsolated))]
#[case::of_the_organisation(Locked::Organisation(0), Some(ViolationKind::NotIsolated))]
fn a_503_beside_a_lock(#[case] locked: Locked, #[case] expected: Option<ViolationKind>) {
    let unmatch = call(1, 9, Request::Unmatch { manager: 7, customer: 9 }, Answer::Unavailable);
    let run = Run::of(vec![unmatch]);
    let lock = run.world.locks.announce(vec![locked], 2 * SECOND);
    run.world.locks.release(lock, 3 * SECOND);
    let conditions = Conditions { only_locks: std::iter::once(0..10 * SECOND).collect(), ..FAULTS };
    let violations = check(&run, &conditions).violations;
    assert_eq!(violations.iter().map(|found| found.kind).collect::<Vec<_>>(), Vec::from_iter(expected));
}

#[rstest]
#[case::by_the_call(5, 1, None)]
#[case::after_the_answer(20, 1, Some(ViolationKind::Stale))]
#[case::twice(5, 2, Some(ViolationKind::Repeated))]
#[case::not_at_all(5, 0, Some(ViolationKind::Missing))]
fn a_log_in_in_the_tables(
    #[case] created: Time,
    #[case] identities: usize,
    #[case] expected: Option<ViolationKind>,
) {
    let log_in = call(4, 6, Request::LogIn { id: 7 }, Answer::LoggedIn { identity: Symbol::default() });
    let tables = Tables {
        created: HashMap::from([(7, created * SECOND)]),
        identities: HashMap::from([(7, identities)]),
        relations: HashMap::new(),
    };
    let conditions = Conditions { tables: Some(tables), ..FAULTS };
    assert_eq!(kinds(vec![log_in], &conditions), Vec::from_iter(expected));
}

fn reader(run: &Run, seen: Relations) -> FeedReader {
    let mut reader = FeedReader::new(run.world.clone(), 0, 0, MANNERS[0]);
    reader.seen = seen;
    reader
}

#[rstest]
#[case::the_last_state(Some(3), None)]
#[case::an_older_state(Some(2), Some(ViolationKind::Missing))]
#[case::nothing(None, Some(ViolationKind::Missing))]
fn what_a_reader_has_seen(#[case] version: Option<i64>, #[case] expected: Option<ViolationKind>) {
    let pair = ["a", "b"].map(str::to_owned);
    let relation = |version| {
        let row = RelationRow { version, active: true, managers: [true, false], notice: String::new() };
        Relations::from([(pair.clone(), row)])
    };
    let seen = version.map(relation).unwrap_or_default();
    let (from_tables, from_the_start) = (Some(relation(3)), relation(3));
    for table in [from_tables, None] {
        let mut run = Run::of(Vec::new());
        let (first, second) = (reader(&run, seen.clone()), reader(&run, from_the_start.clone()));
        run.readers = vec![first, second];
        let tables =
            table.map(|relations| Tables { relations: HashMap::from([(0, relations)]), ..Tables::default() });
        let found = check(&run, &Conditions { tables, ..FAULTS }).violations;
        assert_eq!(found.iter().map(|found| found.kind).collect::<Vec<_>>(), Vec::from_iter(expected));
    }
}

#[test]
fn a_relation_that_does_not_exist() {
    let row = RelationRow { version: 1, active: true, managers: [true, false], notice: String::new() };
    let mut run = Run::of(Vec::new());
    let seen = Relations::from([(["a", "b"].map(str::to_owned), row)]);
    run.readers = vec![reader(&run, seen)];
    let tables = Tables { relations: HashMap::from([(0, Relations::new())]), ..Tables::default() };
    let found = check(&run, &Conditions { tables: Some(tables), ..FAULTS }).violations;
    assert_eq!(found.iter().map(|found| found.kind).collect::<Vec<_>>(), [ViolationKind::Trace]);
}

#[rstest]
#[case::on_one_node(false, Some(ViolationKind::Answer))]
#[case::while_shards_move(true, None)]
fn a_reader_is_told_to_start_again(#[case] shards_move: bool, #[case] expected: Option<ViolationKind>) {
    let mut run = Run::of(Vec::new());
    run.readers = vec![reader(&run, Relations::new())];
    run.readers[0].restarts.push(SECOND);
    let found = check(&run, &Conditions { shards_move, ..FAULTS }).violations;
    assert_eq!(found.iter().map(|found| found.kind).collect::<Vec<_>>(), Vec::from_iter(expected));
}
