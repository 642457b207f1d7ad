//! Calls in words.

use std::fmt::Write;

use crate::call::{Answer, Call, Request};
use crate::client::World;
use crate::customers::Id;
use crate::interner::Symbol;
use crate::model::{Kind, Op, Sight};

/// When, who, what, and the answer.
pub fn line(world: &World, call: &Call) -> String {
    format!("{} {} → {}", head(call), request(world, &call.request), answer(world, &call.answer))
}

/// Calls on one pair, in the order in which they began; of a list only what it says of the pair.
pub fn about(world: &World, calls: &[Call], pair: (Id, Id), ops: &[Op]) -> String {
    let mut text = String::new();
    for op in ops {
        let call = &calls[op.call];
        let _ = match op.kind {
            Kind::Read(Sight::Absent) => {
                writeln!(text, "{} {} → the other is not in it", head(call), request(world, &call.request))
            }
            Kind::Read(Sight::Listed { managers, notice }) => {
                let manager = match managers {
                    [true, true] => "both are managers".to_owned(),
                    [first, _] => {
                        format!("the manager is {}", name(world, if first { pair.0 } else { pair.1 }))
                    }
                };
                writeln!(
                    text,
                    "{} {} → the other is in it, {manager}, notice {}",
                    head(call),
                    request(world, &call.request),
                    quoted(world, notice)
                )
            }
            Kind::Read(Sight::Shown { active, notice }) => {
                let state = if active { "active" } else { "ended" };
                writeln!(
                    text,
                    "{} the answer to a match shows the relation → {state}, notice {}",
                    head(call),
                    quoted(world, notice)
                )
            }
            _ => writeln!(text, "{}", line(world, call)),
        };
    }
    text
}

fn head(call: &Call) -> String {
    let milliseconds = |at: u64| at as f64 / 1e6;
    format!(
        "  client {:>3}  {:>10.3}–{:.3} ms ",
        call.client,
        milliseconds(call.start),
        milliseconds(call.end)
    )
}

fn name(world: &World, id: Id) -> String {
    world.customers.reference(id).unwrap_or_else(|| world.customers.email(id))
}

fn request(world: &World, request: &Request) -> String {
    let name = |id: Id| name(world, id);
    match request {
        Request::Match { manager, customer, by_email, notice, represent } => {
            let how = if *by_email { " by address" } else { "" };
            let notice = notice
                .map_or_else(|| "no notice".to_owned(), |notice| format!("notice {}", quoted(world, notice)));
            let prefer = if *represent { ", Prefer: return=representation" } else { "" };
            format!("{} matches {}{how}, {notice}{prefer}", name(*manager), name(*customer))
        }
        Request::Unmatch { manager, customer } => format!("{} unmatches {}", name(*manager), name(*customer)),
        Request::List { of } => format!("list of {}", name(*of)),
        Request::Create { id } => format!("create {}", world.customers.email(*id)),
        Request::Wrong { wrong } => format!("match with {}", wrong.what),
    }
}

fn answer(world: &World, answer: &Answer) -> String {
    match answer {
        Answer::Matched(None) | Answer::Unmatched => "success".into(),
        Answer::Matched(Some(relation)) => {
            let guest = if relation.customer_created { ", customer created" } else { "" };
            format!("success, {:?}{guest}", relation.change).to_lowercase()
        }
        Answer::NeverMatched => "404, never matched".into(),
        Answer::Listed(list) => format!("{} of {}", list.items.len(), list.item_count),
        Answer::Customer { created, reference, email } => {
            let what = if *created { "created" } else { "known" };
            format!("{what}: {} <{}>", world.symbols.text(*reference), world.symbols.text(*email))
        }
        Answer::Refused => "refused".into(),
        Answer::Unavailable => "503".into(),
        Answer::Lost => "no answer, the connection was lost".into(),
        Answer::NotSent => "no connection".into(),
        Answer::Late => "no answer at all".into(),
        Answer::Unexpected(text) => text.chars().take(500).collect(),
    }
}

fn quoted(world: &World, notice: Symbol) -> String {
    let text = world.symbols.text(notice);
    if text.chars().count() > 60 {
        format!("{:?}…", text.chars().take(60).collect::<String>())
    } else {
        format!("{text:?}")
    }
}
