//! Calls as lines of text.

use std::fmt::Write;

use crate::call::{Answer, Call, Request, Seen};
use crate::customers::Id;
use crate::interner::Symbol;
use crate::model::{Kind, Listing, Op};
use crate::world::World;

/// Client, time, request and answer.
pub fn line(world: &World, call: &Call) -> String {
    format!("{} {} → {}", head(call), request(world, &call.request), answer(world, &call.answer))
}

/// Calls about one pair, in the order in which they began; of a list only what it shows of the pair.
pub fn about(world: &World, calls: &[Call], pair: (Id, Id), ops: &[Op]) -> String {
    let mut text = String::new();
    for op in ops {
        let call = &calls[op.call];
        let shown = match op.kind {
            Kind::List(Listing::Absent) => "the other is not in it".to_owned(),
            Kind::List(Listing::Present { managers, notice }) => {
                let manager = match managers {
                    [true, true] => "both are managers".to_owned(),
                    [first, _] => {
                        format!("the manager is {}", name(world, if first { pair.0 } else { pair.1 }))
                    }
                };
                format!("the other is in it, {manager}, notice {}", quoted(world, notice))
            }
            _ => answer(world, &call.answer),
        };
        let _ = writeln!(text, "{} {} → {shown}", head(call), request(world, &call.request));
    }
    text
}

/// The reference, or else the e-mail address.
pub fn name(world: &World, id: Id) -> String {
    world.customers.reference(id).unwrap_or_else(|| world.customers.email(id))
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

fn request(world: &World, request: &Request) -> String {
    let name = |id: Id| name(world, id);
    match request {
        Request::Match { manager, customer, by_email, notice, condition, represent } => {
            let how = if *by_email { " by e-mail address" } else { "" };
            let notice = notice
                .map_or_else(|| "no notice".to_owned(), |notice| format!("notice {}", quoted(world, notice)));
            let prefer = if *represent { ", Prefer: return=representation" } else { "" };
            let condition = match condition {
                None => String::new(),
                Some(Seen { version: None, .. }) => ", If-None-Match: *".to_owned(),
                Some(Seen { version: Some(version), .. }) => format!(", If-Match: \"{version}\""),
            };
            format!("{} matches {}{how}, {notice}{condition}{prefer}", name(*manager), name(*customer))
        }
        Request::Unmatch { manager, customer } => format!("{} unmatches {}", name(*manager), name(*customer)),
        Request::List { of } => format!("list of {}", name(*of)),
        Request::Create { id } => format!("create {}", world.customers.email(*id)),
        Request::LogIn { id } => format!("magic-auth {}", world.customers.email(*id)),
        Request::Detail { id, identity } => {
            format!("detail of {} by {}", name(*id), short(world, *identity))
        }
        Request::LogOut { id, identity } => format!("logout of {} by {}", name(*id), short(world, *identity)),
        Request::Invalid(invalid) => format!("match with {}", invalid.what),
    }
}

fn answer(world: &World, answer: &Answer) -> String {
    match answer {
        Answer::Matched(None) | Answer::Unmatched | Answer::LoggedOut => "success".into(),
        Answer::Matched(Some(relation)) => {
            let change = format!("{:?}", relation.shown.change).to_lowercase();
            let state = if relation.shown.active { "active" } else { "inactive" };
            let guest = if relation.customer_created { ", customer created" } else { "" };
            format!("success, {change}{guest}: {state}, notice {}", quoted(world, relation.shown.notice))
        }
        Answer::Conflict(Seen { version: None, .. }) => "412, never matched".into(),
        Answer::Conflict(Seen { version: Some(version), state }) => {
            let life = if state.is_active() { "active" } else { "inactive" };
            format!("412, version {version}: {life}, notice {}", quoted(world, state.notice()))
        }
        Answer::NeverMatched => "404, never matched".into(),
        Answer::Listed(list) => format!("{} of {}", list.items.len(), list.item_count),
        Answer::Customer { created, reference, email } => {
            let what = if *created { "created" } else { "known" };
            format!("{what}: {} <{}>", world.interner.text(*reference), world.interner.text(*email))
        }
        Answer::LoggedIn { identity } => format!("success, identity {}", short(world, *identity)),
        Answer::Detailed { reference } => format!("success, {}", world.interner.text(*reference)),
        Answer::NotLoggedIn => "401".into(),
        Answer::Rejected => "rejected".into(),
        Answer::Unavailable => "503".into(),
        Answer::Lost => "no answer, the connection was lost".into(),
        Answer::NotSent => "no connection".into(),
        Answer::TimedOut => "no answer, the client gave up".into(),
        Answer::Unexpected(text) => text.chars().take(500).collect(),
    }
}

/// Enough of an identity to tell it from others.
fn short(world: &World, identity: Symbol) -> String {
    format!("{}…", world.interner.text(identity).chars().take(6).collect::<String>())
}

fn quoted(world: &World, notice: Symbol) -> String {
    let text = world.interner.text(notice);
    if text.chars().count() > 60 {
        format!("{:?}…", text.chars().take(60).collect::<String>())
    } else {
        format!("{text:?}")
    }
}
