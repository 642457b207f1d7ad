//! What a run found, for people.

use std::collections::BTreeMap;

use comfy_table::Table;
use comfy_table::presets::NOTHING;

use crate::call::{Answer, Call, Request};
use crate::checker::Verdict;

/// Violations that are printed in full; of each kind some, so that many of one do not hide another.
const PRINTED: usize = 20;
const PRINTED_OF_A_KIND: usize = 3;

/// How many calls of each kind had which answer.
pub fn calls_table(calls: &[Call]) -> String {
    const ANSWERS: [&str; 6] = ["acknowledged", "rejected", "503", "lost", "not sent", "wrong"];
    let mut counts: BTreeMap<&str, [u64; ANSWERS.len()]> = BTreeMap::new();
    for call in calls {
        let kind = match call.request {
            Request::Match { by_email: false, .. } => "match by reference",
            Request::Match { by_email: true, .. } => "match by e-mail address",
            Request::Unmatch { .. } => "unmatch",
            Request::List { .. } => "list",
            Request::Create { .. } => "create",
            Request::LogIn { .. } => "magic-auth",
            Request::Detail { .. } => "detail",
            Request::LogOut { .. } => "logout",
            Request::Invalid(_) => "invalid match",
        };
        let column = match call.answer {
            _ if call.answer.is_rejected() => 1,
            Answer::Unavailable => 2,
            Answer::Lost => 3,
            Answer::NotSent => 4,
            Answer::TimedOut | Answer::Unexpected(_) => 5,
            _ => 0,
        };
        counts.entry(kind).or_default()[column] += 1;
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["calls"].iter().chain(&ANSWERS));
    for (kind, counts) in counts {
        table.add_row([kind.to_owned()].into_iter().chain(counts.iter().map(u64::to_string)));
    }
    table.trim_fmt()
}

/// The violations in the order of time, and what was checked.
pub fn print(verdict: &mut Verdict, calls: usize) {
    println!(
        "{calls} calls, {} pairs of customers, {} operations on them checked.",
        verdict.pairs, verdict.operations
    );
    println!(
        "Readers of changes had to know the last states of {} relations, all together.",
        verdict.followed
    );
    if verdict.undecided > 0 {
        println!(
            "{} pairs had too many calls at the same time to be checked: use fewer clients.",
            verdict.undecided
        );
    }
    verdict.violations.sort_by_key(|violation| violation.at);
    let mut of_kind: BTreeMap<_, usize> = BTreeMap::new();
    let mut printed = 0;
    for violation in &verdict.violations {
        let count = of_kind.entry(violation.kind).or_default();
        *count += 1;
        if *count <= PRINTED_OF_A_KIND && printed < PRINTED {
            println!("\n{:?}: {}", violation.kind, violation.text);
            printed += 1;
        }
    }
    if verdict.violations.is_empty() {
        println!("Every answer is explained: nothing is missing, stale, repeated, doubled or late.");
    } else {
        let counts: Vec<_> = of_kind.iter().map(|(kind, count)| format!("{count} {kind:?}")).collect();
        println!("\n{} violations: {}.", verdict.violations.len(), counts.join(", "));
    }
}
