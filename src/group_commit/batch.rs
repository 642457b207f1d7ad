//! Pending writes as one batch of the database's function, and its answer as replies.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::WriteError;
use super::pending_write::{
    PendingWrite, Request, Unfinished, Verdict, match_to_json, verdict, verdict_of_other,
};
use crate::db::write_batch::{self, MatchAnswer, MatchResult, WriteAnswer, WriteBatch};
use crate::domain::{CuRefNo, Match, Matched, Notice, Precondition};

/// For each write, whether it is among the matches that are written together. The others follow, one after the other: those with a
/// condition, and those whose pair an earlier write of the batch names, since a statement may touch a row only once. So the
/// writes of a pair keep their order. Where one of two matches names the customer by e-mail address, the statement finds it out.
pub(super) fn are_together(writes: &[PendingWrite], isolated: bool) -> Vec<bool> {
    let mut pairs = HashSet::with_capacity(writes.len());
    let together = writes.iter().map(|write| match &write.request {
        Request::Match(wanted, precondition, _) => {
            let is_first = pairs.insert((write.organisation_id, wanted.named_pair()));
            is_first && precondition.is_none() && !isolated
        }
        Request::Unmatch(unwanted, ..) => {
            pairs.insert((write.organisation_id, unwanted.named_pair()));
            false
        }
        _ => false,
    });
    together.collect()
}

/// The writes in the form of the function.
pub(super) fn to_batch<'a>(writes: &'a [PendingWrite], together: &[bool], isolated: bool) -> WriteBatch<'a> {
    let mut batch = WriteBatch { isolated, ..with_capacity(writes.len()) };
    for (write, together) in writes.iter().zip(together) {
        match &write.request {
            Request::Match(wanted, ..) if *together => push(&mut batch, write.organisation_id, wanted),
            _ => batch.others.push(write.to_json()),
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

/// Replies to each write; returns those that are unfinished. `guests` are the references that the batch proposed.
pub(super) fn reply_all(
    writes: Vec<PendingWrite>,
    together: &[bool],
    mut answer: WriteAnswer,
    guests: &[Option<String>],
) -> Vec<Unfinished> {
    let mut relations = answer.take_relations().into_iter();
    let mut others = answer.take_others().into_iter();
    let mut results = results(&answer, guests);
    let mut unfinished = Vec::new();
    for (write, together) in writes.into_iter().zip(together) {
        let left = match &write.request {
            Request::Match(wanted, ..) if *together => {
                let relation = if wanted.representation { relations.next().flatten() } else { None };
                let (result, customer_created) = results.next().unwrap_or((MatchResult::Unknown, false));
                let verdict = verdict(wanted, MatchAnswer { result, customer_created, relation });
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

/// The letter of each match that was written together with others, and whether a guest was created for it.
fn results(answer: &WriteAnswer, guests: &[Option<String>]) -> impl Iterator<Item = (MatchResult, bool)> {
    answer.match_results().zip(guests).enumerate().map(|(index, (result, guest))| {
        (result, guest.is_some() && answer.customer(index) == guest.as_deref())
    })
}

/// What matches would come to, written together or one at a time, on a connection whose tables are a copy without foreign keys
/// ([`crate::db::dry_run`]). The results come in the order of the matches; `None`: an earlier match has the same pair.
pub async fn preview(
    connection: &mut PgConnection,
    organisation_id: i64,
    matches: &[&Match],
    isolated: bool,
) -> sqlx::Result<Vec<Option<Result<Matched, WriteError>>>> {
    let verdicts: Vec<_> = if isolated {
        let writes =
            matches.iter().map(|wanted| match_to_json(organisation_id, wanted, &Precondition::default()));
        let answers = write_batch::preview_each(connection, &writes.collect::<Vec<_>>()).await?;
        matches.iter().zip(answers).map(|(wanted, answer)| verdict_of_other(wanted, answer)).collect()
    } else {
        let mut batch = with_capacity(matches.len());
        for wanted in matches {
            push(&mut batch, organisation_id, wanted);
        }
        let answer = write_batch::preview(connection, &batch).await?;
        let results = matches.iter().zip(results(&answer, &batch.guests));
        let verdicts = results.map(|(wanted, (result, customer_created))| {
            verdict(wanted, MatchAnswer { result, customer_created, relation: None })
        });
        verdicts.collect()
    };
    let results = verdicts.into_iter().map(|verdict| match verdict {
        Verdict::Final(result) => Some(result),
        Verdict::Deferred | Verdict::Blocked => None,
    });
    Ok(results.collect())
}
