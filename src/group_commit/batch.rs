//! Pending writes as one batch of the database's function, and its answer as replies.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::WriteError;
use super::pending_write::{PendingWrite, Request, Unfinished, Verdict, not_found};
use crate::db::write_batch::{self, MatchResult, WriteAnswer, WriteBatch};
use crate::domain::{Change, CuRefNo, Match, Matched, NamedCustomer, Notice, Relation};

/// For each write, whether no earlier match of the batch names its pair: a statement may touch a row only once. Where one of two
/// matches names the customer by e-mail address, the statement finds it out.
pub(super) fn first_of_their_pairs(writes: &[PendingWrite]) -> Vec<bool> {
    let mut seen = HashSet::with_capacity(writes.len());
    let first = writes.iter().map(|write| match &write.request {
        Request::Match(wanted, _) => seen.insert((write.organisation_id, wanted.named_pair())),
        _ => true,
    });
    first.collect()
}

/// The writes in the form of the function.
pub(super) fn to_batch(writes: &[PendingWrite], isolated: bool) -> WriteBatch<'_> {
    let mut batch = WriteBatch { isolated, ..with_capacity(writes.len()) };
    for write in writes {
        match &write.request {
            Request::Match(wanted, _) => push(&mut batch, write.organisation_id, wanted),
            _ => batch.others.extend(write.to_json()),
        }
    }
    batch
}

fn with_capacity<'a>(matches: usize) -> WriteBatch<'a> {
    WriteBatch {
        organisation_ids: Vec::with_capacity(matches),
        managers: Vec::with_capacity(matches),
        customers: Vec::with_capacity(matches),
        emails: Vec::with_capacity(matches),
        guests: Vec::with_capacity(matches),
        notices: Vec::with_capacity(matches),
        ..WriteBatch::default()
    }
}

fn push<'a>(batch: &mut WriteBatch<'a>, organisation_id: i64, wanted: &'a Match) {
    batch.organisation_ids.push(organisation_id);
    batch.managers.push(wanted.manager.as_str());
    batch.customers.push(wanted.customer.cu_ref_no());
    batch.emails.push(wanted.customer.email());
    batch.guests.push(wanted.customer.email().map(|_| CuRefNo::generate().to_string()));
    batch.notices.push(wanted.notice.as_ref().map(Notice::as_str));
    if wanted.representation {
        // At most as many as there are places in a batch.
        batch.represented.push(i32::try_from(batch.managers.len()).unwrap_or(i32::MAX));
    }
}

/// Replies to each write; returns those that are unfinished. `guests` are the references that the batch offered.
pub(super) fn reply_all(
    writes: Vec<PendingWrite>,
    mut answer: WriteAnswer,
    guests: &[Option<String>],
) -> Vec<Unfinished> {
    let mut relations = answer.take_relations().into_iter();
    let mut others = answer.take_others().into_iter();
    let results: Vec<MatchResult> = answer.match_results().collect();
    let mut index = 0;
    let mut unfinished = Vec::new();
    for write in writes {
        let left = match &write.request {
            Request::Match(wanted, _) => {
                let relation = if wanted.representation { relations.next().flatten() } else { None };
                let guest = guests.get(index).and_then(Option::as_deref);
                let result = results.get(index).copied().unwrap_or(MatchResult::Failed);
                let verdict = verdict(wanted, result, index, &answer, guest, relation);
                index += 1;
                write.finish_match(verdict)
            }
            _ => match others.next() {
                Some(other) => write.finish_other(other),
                None => Some(Unfinished::Deferred(write)),
            },
        };
        unfinished.extend(left);
    }
    unfinished
}

/// What the letter of a match means for it. `guest` is the reference that was offered for a new customer.
fn verdict(
    wanted: &Match,
    result: MatchResult,
    index: usize,
    answer: &WriteAnswer,
    guest: Option<&str>,
    relation: Option<Relation>,
) -> Verdict<Matched> {
    let matched = |change| {
        let customer_created = guest.is_some() && answer.customer(index) == guest;
        Verdict::Final(Ok(Matched { change, customer_created, relation }))
    };
    match result {
        MatchResult::Created => matched(Change::Created),
        MatchResult::Reactivated => matched(Change::Reactivated),
        MatchResult::Updated => matched(Change::Updated),
        MatchResult::Unchanged => matched(Change::Unchanged),
        MatchResult::SameCustomer => Verdict::Final(Err(WriteError::SameCustomer)),
        MatchResult::ManagerNotFound => Verdict::Final(Err(not_found(&wanted.manager))),
        MatchResult::CustomerNotFound => match &wanted.customer {
            NamedCustomer::CuRefNo(cu_ref_no) => Verdict::Final(Err(not_found(cu_ref_no))),
            NamedCustomer::Email(_) => Verdict::Deferred,
        },
        MatchResult::Deferred => Verdict::Deferred,
        MatchResult::Blocked => Verdict::Blocked,
        MatchResult::Failed => Verdict::Final(Err(WriteError::Rejected(answer.failure(index).into()))),
    }
}

/// What matches would come to, written together or one at a time, on a connection whose tables are a copy without foreign keys
/// ([`crate::db::dry_run`]). The results come in the order of the matches; `None`: an earlier match has the same pair.
pub async fn preview(
    connection: &mut PgConnection,
    organisation_id: i64,
    matches: &[&Match],
    isolated: bool,
) -> sqlx::Result<Vec<Option<Result<Matched, WriteError>>>> {
    let mut batch = WriteBatch { isolated, ..with_capacity(matches.len()) };
    for wanted in matches {
        push(&mut batch, organisation_id, wanted);
    }
    let answer = write_batch::preview(connection, &batch).await?;
    let results = answer.match_results().zip(matches).enumerate().map(|(index, (result, wanted))| {
        let guest = batch.guests.get(index).and_then(Option::as_deref);
        match verdict(wanted, result, index, &answer, guest, None) {
            Verdict::Final(result) => Some(result),
            Verdict::Deferred | Verdict::Blocked => None,
        }
    });
    Ok(results.collect())
}
