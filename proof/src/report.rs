//! What a run came to, for people.

use std::collections::BTreeMap;

use comfy_table::Table;
use comfy_table::presets::NOTHING;

use crate::call::{Answer, Call, Request};
use crate::checker::Verdict;

/// Violations that are printed whole.
const PRINTED: usize = 10;

/// How many calls of each kind had which answer.
pub fn calls_table(calls: &[Call]) -> String {
    const ANSWERS: [&str; 6] = ["answered", "refused", "503", "lost", "not sent", "wrong"];
    let mut counts: BTreeMap<&str, [u64; ANSWERS.len()]> = BTreeMap::new();
    for call in calls {
        let kind = match call.request {
            Request::Match { by_email: false, .. } => "match by reference",
            Request::Match { by_email: true, .. } => "match by address",
            Request::Unmatch { .. } => "unmatch",
            Request::List { .. } => "list",
            Request::Create { .. } => "create",
            Request::Wrong { .. } => "match to be refused",
        };
        let column = match call.answer {
            Answer::Matched(_) | Answer::Unmatched | Answer::Listed(_) | Answer::Customer { .. } => 0,
            Answer::Refused | Answer::NeverMatched => 1,
            Answer::Unavailable => 2,
            Answer::Lost => 3,
            Answer::NotSent => 4,
            Answer::Late | Answer::Unexpected(_) => 5,
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

/// What is wrong, the most telling first, and what was looked at.
pub fn print(verdict: &mut Verdict, calls: usize) {
    println!(
        "{calls} calls, {} pairs of customers, {} operations on them checked.",
        verdict.pairs, verdict.operations
    );
    if verdict.undecided > 0 {
        println!(
            "{} pairs had too many calls at the same time to be checked: use fewer clients.",
            verdict.undecided
        );
    }
    verdict.violations.sort_by_key(|violation| violation.at);
    for violation in verdict.violations.iter().take(PRINTED) {
        println!("\n{:?}: {}", violation.fault, violation.text);
    }
    match verdict.violations.len() {
        0 => println!("Every answer is explained: nothing is missing, doubled or left over."),
        all if all > PRINTED => println!("\n… and {} more.", all - PRINTED),
        _ => {}
    }
}
