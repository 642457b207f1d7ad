//! The search, on histories written by hand.

use rstest::rstest;

use crate::interner::{Interner, Symbol};
use crate::model::{Change, Effect, Kind, Listing, Op, Shown, State};
use crate::search::{Failure, check};
use crate::shrink::shortest;

/// Notices, and the empty one.
fn notices() -> (Symbol, Symbol, Symbol) {
    let interner = Interner::default();
    (interner.symbol("a"), interner.symbol("b"), Symbol::default())
}

fn op(start: u64, end: u64, kind: Kind) -> Op {
    Op { start, end, kind, effect: Effect::Once, call: 0 }
}

fn unanswered(start: u64, end: u64, kind: Kind) -> Op {
    Op { effect: Effect::AtMostOnce, ..op(start, end, kind) }
}

fn matched(notice: Option<Symbol>) -> Kind {
    Kind::Match { manager: 0, notice, expected: None, shown: None }
}

fn matched_by(manager: usize, change: Change) -> Kind {
    shown(manager, None, change, true, Symbol::default())
}

const UNMATCHED: Kind = Kind::Unmatch { found: true };
const NEVER_MATCHED: Kind = Kind::Unmatch { found: false };
const ABSENT: Kind = Kind::List(Listing::Absent);

fn listed(notice: Symbol) -> Kind {
    Kind::List(Listing::Present { managers: [true, false], notice })
}

fn managed_by(managers: [bool; 2]) -> Kind {
    Kind::List(Listing::Present { managers, notice: Symbol::default() })
}

fn shown(manager: usize, wanted: Option<Symbol>, change: Change, active: bool, notice: Symbol) -> Kind {
    let shown = Some(Shown { change, active, notice });
    Kind::Match { manager, notice: wanted, expected: None, shown }
}

/// A match by the first side on the condition that the relation is as it was seen.
fn matched_if(expected: State, notice: Symbol) -> Kind {
    Kind::Match { manager: 0, notice: Some(notice), expected: Some(expected), shown: None }
}

fn active(notice: Symbol) -> State {
    State::shown(true, [true, false], notice)
}

#[test]
fn what_can_be_explained() {
    let (a, b, empty) = notices();
    let histories: Vec<(&str, Vec<Op>)> = vec![
        ("nothing", vec![]),
        ("nothing to be seen", vec![op(0, 1, ABSENT), op(2, 3, NEVER_MATCHED)]),
        ("one match", vec![op(0, 1, matched(Some(a))), op(2, 3, listed(a))]),
        ("absent keeps", vec![op(0, 1, matched(Some(a))), op(2, 3, matched(None)), op(4, 5, listed(a))]),
        (
            "the empty text clears",
            vec![op(0, 1, matched(Some(a))), op(2, 3, matched(Some(empty))), op(4, 5, listed(empty))],
        ),
        (
            "a notice outlives the relation",
            vec![
                op(0, 1, matched(Some(a))),
                op(2, 3, UNMATCHED),
                op(4, 5, ABSENT),
                op(6, 7, matched(None)),
                op(8, 9, listed(a)),
            ],
        ),
        (
            "of two at once either is the last",
            vec![
                op(0, 5, matched(Some(a))),
                op(1, 6, matched(Some(b))),
                op(7, 8, listed(a)),
                op(7, 8, listed(a)),
            ],
        ),
        (
            "calls that touch overlap",
            vec![op(0, 5, matched(Some(a))), op(5, 6, matched(Some(b))), op(7, 8, listed(a))],
        ),
        (
            "a list during a match shows it or not",
            vec![op(0, 9, matched(Some(a))), op(1, 2, ABSENT), op(3, 4, listed(a))],
        ),
        (
            "seen before it is answered",
            vec![op(0, 9, matched(Some(a))), op(1, 2, listed(a)), op(3, 4, UNMATCHED), op(5, 6, ABSENT)],
        ),
        (
            "two sides manage",
            vec![
                op(0, 1, matched_by(0, Change::Created)),
                op(2, 3, matched_by(1, Change::Updated)),
                op(4, 5, matched_by(1, Change::Unchanged)),
                op(6, 7, managed_by([true, true])),
            ],
        ),
        (
            "ended and again",
            vec![
                op(0, 1, matched_by(0, Change::Created)),
                op(2, 3, UNMATCHED),
                op(4, 5, UNMATCHED),
                op(6, 7, matched_by(0, Change::Reactivated)),
            ],
        ),
        (
            "shown as the match left it",
            vec![
                op(0, 1, matched(Some(a))),
                op(2, 9, shown(0, None, Change::Unchanged, true, a)),
                op(2, 9, shown(0, Some(b), Change::Updated, true, b)),
            ],
        ),
        (
            "of two edits of what both have seen one is a conflict",
            vec![
                op(0, 1, matched(Some(a))),
                op(2, 9, matched_if(active(a), b)),
                op(2, 9, Kind::Conflict(active(b))),
                op(10, 11, listed(b)),
            ],
        ),
        (
            "created only once",
            vec![op(0, 9, matched_if(State::default(), a)), op(0, 9, Kind::Conflict(active(a)))],
        ),
        (
            "a condition without an answer that did not hold",
            vec![
                op(0, 1, matched(Some(a))),
                unanswered(2, 9, matched_if(State::default(), b)),
                op(10, 11, listed(a)),
            ],
        ),
        ("without an answer, done", vec![unanswered(0, 20, matched(Some(a))), op(5, 6, listed(a))]),
        ("without an answer, not done", vec![unanswered(0, 20, matched(Some(a))), op(5, 6, ABSENT)]),
        (
            "without an answer, done late",
            vec![unanswered(0, 20, matched(Some(a))), op(5, 6, ABSENT), op(8, 9, listed(a))],
        ),
        (
            "without an answer, done before the first list",
            vec![unanswered(0, 3, matched(Some(a))), op(5, 6, listed(a)), op(7, 8, listed(a))],
        ),
        (
            "of three without an answer, any two",
            vec![
                unanswered(0, 30, matched(Some(a))),
                unanswered(0, 10, UNMATCHED),
                unanswered(0, 30, UNMATCHED),
                op(1, 2, listed(a)),
                op(3, 4, ABSENT),
                op(11, 12, matched(None)),
                op(13, 14, ABSENT),
            ],
        ),
    ];
    for (what, history) in histories {
        assert_eq!(check(&history), Ok(()), "{what}");
    }
}

#[test]
fn what_cannot() {
    let (a, b, empty) = notices();
    let histories: Vec<(&str, usize, Vec<Op>)> = vec![
        ("a lost match", 1, vec![op(0, 1, matched(Some(a))), op(2, 3, ABSENT)]),
        ("a lost unmatch", 2, vec![op(0, 1, matched(Some(a))), op(2, 3, UNMATCHED), op(4, 5, listed(a))]),
        (
            "a lost notice",
            2,
            vec![op(0, 1, matched(Some(a))), op(2, 3, matched(None)), op(4, 5, listed(empty))],
        ),
        (
            "a notice that was not cleared",
            2,
            vec![op(0, 1, matched(Some(a))), op(2, 3, matched(Some(empty))), op(4, 5, listed(a))],
        ),
        (
            "the first of two wins",
            2,
            vec![op(0, 1, matched(Some(a))), op(2, 3, matched(Some(b))), op(4, 5, listed(a))],
        ),
        ("a notice that no match wrote", 1, vec![op(0, 1, matched(Some(a))), op(2, 3, listed(b))]),
        ("listed without a match", 0, vec![op(0, 1, listed(empty))]),
        ("read before it was asked for", 0, vec![op(0, 1, listed(a)), op(2, 3, matched(Some(a)))]),
        ("back in time", 2, vec![op(0, 9, matched(Some(a))), op(1, 2, listed(a)), op(3, 4, ABSENT)]),
        (
            "two readers, two orders",
            3,
            vec![
                op(0, 9, matched(Some(a))),
                op(0, 9, matched(Some(b))),
                op(10, 11, listed(a)),
                op(12, 13, listed(b)),
            ],
        ),
        (
            "a manager that no match made",
            1,
            vec![op(0, 1, matched(None)), op(2, 3, managed_by([true, true]))],
        ),
        (
            "a manager that is lost",
            2,
            vec![
                op(0, 1, matched_by(0, Change::Created)),
                op(2, 3, matched_by(1, Change::Updated)),
                op(4, 5, managed_by([true, false])),
            ],
        ),
        (
            "created twice",
            1,
            vec![op(0, 1, matched_by(0, Change::Created)), op(2, 3, matched_by(0, Change::Created))],
        ),
        ("never matched, although it was", 1, vec![op(0, 1, matched(None)), op(2, 3, NEVER_MATCHED)]),
        ("unmatched, although never matched", 0, vec![op(0, 1, UNMATCHED), op(2, 3, matched(None))]),
        (
            "another's notice is shown",
            1,
            vec![
                op(0, 5, matched(Some(a))),
                op(0, 6, shown(0, Some(b), Change::Updated, true, a)),
                op(7, 8, listed(b)),
            ],
        ),
        (
            "shown as another left it",
            0,
            vec![op(3, 4, UNMATCHED), op(0, 9, shown(0, None, Change::Created, false, empty))],
        ),
        (
            "done twice",
            4,
            vec![
                op(0, 20, matched(Some(a))),
                op(1, 2, listed(a)),
                op(3, 4, UNMATCHED),
                op(5, 6, ABSENT),
                op(7, 8, listed(a)),
            ],
        ),
        (
            "two edits of what both have seen",
            2,
            vec![
                op(0, 1, matched(Some(a))),
                op(2, 9, matched_if(active(a), b)),
                op(2, 9, matched_if(active(a), empty)),
            ],
        ),
        (
            "a conflict that shows what is not there",
            1,
            vec![op(0, 1, matched(Some(a))), op(2, 3, Kind::Conflict(active(b)))],
        ),
        (
            "a condition without an answer that did not hold, and took effect",
            2,
            vec![
                op(0, 1, matched(Some(a))),
                unanswered(2, 9, matched_if(State::default(), b)),
                op(10, 11, listed(b)),
            ],
        ),
        (
            "without an answer, before it was sent",
            0,
            vec![op(0, 1, listed(a)), unanswered(5, 20, matched(Some(a)))],
        ),
        (
            "without an answer, after it could be",
            2,
            vec![unanswered(0, 4, matched(Some(a))), op(5, 6, ABSENT), op(7, 8, listed(a))],
        ),
        (
            "without an answer, done twice",
            4,
            vec![
                unanswered(0, 20, matched(Some(a))),
                op(1, 2, listed(a)),
                op(3, 4, UNMATCHED),
                op(5, 6, ABSENT),
                op(7, 8, listed(a)),
            ],
        ),
        ("told what the second attempt did", 0, vec![op(0, 9, matched_by(0, Change::Unchanged))]),
        (
            "of two without an answer, three",
            5,
            vec![
                unanswered(0, 30, matched(Some(a))),
                unanswered(0, 30, matched(Some(a))),
                op(1, 2, UNMATCHED),
                op(3, 4, listed(a)),
                op(5, 6, UNMATCHED),
                op(7, 8, listed(a)),
                op(9, 10, UNMATCHED),
                op(11, 12, listed(a)),
            ],
        ),
    ];
    for (what, failed, history) in histories {
        assert_eq!(check(&history), Err(Failure::NotLinearizable(failed)), "{what}");
    }
}

/// Many concurrent operations, and a long history.
#[rstest]
#[case::explained(false)]
#[case::not_explained(true)]
fn a_long_history(#[case] lost: bool) {
    let interner = Interner::default();
    let mut ops = Vec::new();
    for round in 0..50 {
        let at = 100 * round;
        let texts: Vec<_> = (0..6).map(|client| interner.symbol(&format!("{round}.{client}"))).collect();
        ops.extend(texts.iter().map(|text| op(at, at + 50, matched(Some(*text)))));
        let seen = texts[usize::try_from(round % 6).unwrap()];
        ops.push(op(at + 60, at + 70, listed(seen)));
        ops.push(op(at + 80, at + 90, listed(seen)));
    }
    if lost {
        let seen = ops.iter().rposition(|op| matches!(op.kind, Kind::List(_))).unwrap();
        ops[seen].kind = ABSENT;
    }
    assert_eq!(check(&ops).is_err(), lost);
}

#[test]
fn the_shortest_explanation_is_what_matters() {
    let (a, b, empty) = notices();
    let noise = (0..100).flat_map(|round| {
        let at = 10 * round;
        [
            op(at, at + 3, matched(Some(a))),
            op(at + 1, at + 4, UNMATCHED),
            op(at + 5, at + 6, matched(Some(empty))),
            op(at + 7, at + 8, listed(empty)),
        ]
    });
    let mut ops: Vec<_> = noise.collect();
    ops.push(op(5_000, 5_001, matched(Some(b))));
    ops.push(op(5_002, 5_003, listed(b)));
    ops.push(op(5_004, 5_005, ABSENT));
    ops.push(op(5_006, 5_007, UNMATCHED));
    let core = shortest(&[State::default()], ops);
    let kinds: Vec<_> = core.iter().map(|op| op.kind).collect();
    assert_eq!(kinds, [listed(b), ABSENT]);
}
