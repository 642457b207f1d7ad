//! What the tables hold in the end, by SQL.

use std::collections::HashMap;
use std::time::Duration;

use super::{Checker, Verdict, ViolationKind, is_certain, last_effect, nanoseconds};
use crate::call::{Answer, Call, Request};
use crate::customers::Id;
use crate::feed::Relations;
use crate::model::Time;

/// The system clock, which the database reads, may be adjusted against the monotonic one.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(50);

#[derive(Default)]
pub struct Tables {
    /// When each customer was created.
    pub created: HashMap<Id, Time>,
    /// Identities of each customer, valid and ended.
    pub identities: HashMap<Id, usize>,
    /// The relations of each organisation, by its index.
    pub relations: HashMap<usize, Relations>,
}

impl Checker<'_> {
    pub(super) fn tables(&self, verdict: &mut Verdict) {
        let Some(tables) = &self.conditions.tables else { return };
        let mut creators: HashMap<Id, Vec<&Call>> = HashMap::new();
        let mut logins: HashMap<Id, (usize, usize)> = HashMap::new();
        for call in &self.run.calls {
            if matches!(call.answer, Answer::NotSent) {
                continue;
            }
            match call.request {
                Request::LogIn { id } => {
                    let (certain, possible) = logins.entry(id).or_default();
                    *certain += usize::from(is_certain(&call.answer));
                    *possible += 1;
                    creators.entry(id).or_default().push(call);
                }
                Request::Create { id } | Request::Match { customer: id, by_email: true, .. } => {
                    creators.entry(id).or_default().push(call);
                }
                _ => {}
            }
        }
        for (id, at) in &tables.created {
            let calls = creators.get(id).map(Vec::as_slice).unwrap_or_default();
            self.created_in_time(*id, *at, calls, verdict);
        }
        for (id, (certain, possible)) in logins {
            let stored = tables.identities.get(&id).copied().unwrap_or_default();
            if !(certain..=possible).contains(&stored) {
                let text = format!(
                    "{} has {stored} identities: {certain} calls of magic-auth were acknowledged, {} not.",
                    self.name(id),
                    possible - certain
                );
                let kind = if stored < certain { ViolationKind::Missing } else { ViolationKind::Repeated };
                verdict.add(kind, 0, text);
            }
        }
    }

    /// A customer that was created at a time of no call is the work of an attempt that was given up.
    fn created_in_time(&self, id: Id, at: Time, calls: &[&Call], verdict: &mut Verdict) {
        let tolerance = nanoseconds(CLOCK_TOLERANCE);
        let within =
            |call: &&Call| (call.start..=last_effect(call) + 2 * tolerance).contains(&(at + tolerance));
        if calls.iter().any(within) {
            return;
        }
        let mut before: Vec<_> = calls.iter().filter(|call| call.start <= at).collect();
        before.sort_by_key(|call| call.start);
        let lines: Vec<_> = before.iter().map(|call| self.line(call)).collect();
        let text = format!(
            "{} was created at {:.3} ms, when no call about it was in flight; those before:\n{}",
            self.name(id),
            at as f64 / 1e6,
            lines.join("\n")
        );
        verdict.add(ViolationKind::Stale, at, text);
    }
}
