//! An identity is valid until its logout, which is acknowledged once, and never after.

use std::collections::BTreeMap;

use super::{Checker, Verdict, ViolationKind, is_certain, last_effect};
use crate::call::{Answer, Call, Request};
use crate::interner::Symbol;
use crate::model::Time;

#[derive(Default)]
struct Identity<'a> {
    /// Logouts that may have ended it.
    logouts: Vec<&'a Call>,
    /// Calls that found it valid, and calls that did not.
    valid: Vec<&'a Call>,
    ended: Vec<&'a Call>,
}

impl Checker<'_> {
    pub(super) fn sessions(&self, verdict: &mut Verdict) {
        let mut identities: BTreeMap<Symbol, Identity> = BTreeMap::new();
        let mut created: BTreeMap<Symbol, &Call> = BTreeMap::new();
        for call in &self.run.calls {
            match (&call.request, &call.answer) {
                (_, Answer::LoggedIn { identity }) => {
                    if let Some(first) = created.insert(*identity, call) {
                        let lines = format!("{}\n{}", self.line(first), self.line(call));
                        let text = format!("Two calls have the same identity:\n{lines}");
                        verdict.add(ViolationKind::Doubled, call.start, text);
                    }
                }
                (Request::Detail { identity, .. }, Answer::Detailed { .. }) => {
                    identities.entry(*identity).or_default().valid.push(call);
                }
                (
                    Request::Detail { identity, .. } | Request::LogOut { identity, .. },
                    Answer::NotLoggedIn,
                ) => {
                    identities.entry(*identity).or_default().ended.push(call);
                }
                (Request::LogOut { identity, .. }, answer) if !matches!(answer, Answer::NotSent) => {
                    identities.entry(*identity).or_default().logouts.push(call);
                }
                _ => {}
            }
        }
        for identity in identities.values() {
            self.identity(identity, verdict);
        }
    }

    /// There is a moment at which a logout ended it, after every call that found it valid began and before every call that did
    /// not ended.
    fn identity(&self, identity: &Identity, verdict: &mut Verdict) {
        let acknowledged: Vec<_> = identity.logouts.iter().filter(|call| is_certain(&call.answer)).collect();
        if let [first, second, ..] = acknowledged[..] {
            let text = format!("Logged out twice:\n{}\n{}", self.line(first), self.line(second));
            verdict.add(ViolationKind::Doubled, second.start, text);
            return;
        }
        let last_valid = identity.valid.iter().max_by_key(|call| call.start);
        let first_ended =
            identity.ended.iter().chain(acknowledged.iter().copied()).min_by_key(|call| call.end);
        let Some(first_ended) = first_ended else { return };
        let from = last_valid.map_or(0, |call| call.start);
        // If one was acknowledged, it was that one.
        let ended_in_time = |call: &&&Call| {
            (acknowledged.is_empty() || is_certain(&call.answer))
                && call.start.max(from) <= last_effect(call).min(first_ended.end)
        };
        if identity.logouts.iter().any(|call| ended_in_time(&call)) {
            return;
        }
        let mut calls: Vec<&Call> = identity.logouts.clone();
        calls.extend(last_valid.into_iter().chain([first_ended]));
        calls.sort_by_key(|call| call.start);
        calls.dedup_by_key(|call| (call.client, call.start));
        let lines: Vec<_> = calls.iter().map(|call| self.line(call)).collect();
        let possible: Time = identity.logouts.iter().map(|call| last_effect(call)).max().unwrap_or_default();
        let is_stale = !identity.logouts.is_empty() && possible < from && acknowledged.is_empty();
        let kind = if is_stale { ViolationKind::Stale } else { ViolationKind::Missing };
        let text =
            format!("No moment explains when this identity ended, of all its calls:\n{}", lines.join("\n"));
        verdict.add(kind, first_ended.start, text);
    }
}
