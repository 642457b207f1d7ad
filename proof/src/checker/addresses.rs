//! One customer for each e-mail address, created once and shown in the normal form; none for a rejected call.

use std::collections::BTreeMap;

use super::{Checker, Verdict, ViolationKind, is_certain};
use crate::call::{Answer, Call, Request};
use crate::customers::{FIRST_OUTSIDER, Id};
use crate::interner::Symbol;

/// What the calls say of one e-mail address.
#[derive(Default)]
struct Address<'a> {
    reference: Option<(Symbol, &'a Call)>,
    /// Was told that it created the customer.
    creator: Option<&'a Call>,
    /// Created the customer or not, and was not told.
    possible_creators: Vec<&'a Call>,
    /// The answer with the earliest end that shows the customer.
    first_seen: Option<&'a Call>,
}

/// What a call says of one customer.
struct Mention {
    id: Id,
    reference: Option<Symbol>,
    email: Option<Symbol>,
}

impl Checker<'_> {
    pub(super) fn addresses(&self, verdict: &mut Verdict) {
        let mut addresses: BTreeMap<Id, Address> = BTreeMap::new();
        for call in &self.run.calls {
            self.strangers(call, verdict);
            for Mention { id, reference, email } in self.mentions(call) {
                let address = addresses.entry(id).or_default();
                let is_earlier = |seen: &Call| call.end < seen.end;
                if address.first_seen.is_none_or(is_earlier) {
                    address.first_seen = Some(call);
                }
                let normal = self.run.world.customers.email(id);
                if let Some(reference) = reference {
                    let (first, earlier) = *address.reference.get_or_insert((reference, call));
                    if first != reference {
                        let text = format!(
                            "{normal} is two customers, {} and {}:\n{}\n{}",
                            self.text(first),
                            self.text(reference),
                            self.line(earlier),
                            self.line(call)
                        );
                        verdict.add(ViolationKind::Doubled, call.start, text);
                    }
                }
                if email.is_some_and(|email| self.text(email) != normal) {
                    let text = format!("The normal form is {normal}:\n{}", self.line(call));
                    verdict.add(ViolationKind::Answer, call.start, text);
                }
            }
            match creation(call) {
                Creation::Told(id) => {
                    let creator = &mut addresses.entry(id).or_default().creator;
                    let Some(other) = *creator else {
                        *creator = Some(call);
                        continue;
                    };
                    *creator = Some(if call.start < other.start { call } else { other });
                    let (one, other) = (self.line(other), self.line(call));
                    let text = format!("{} was created twice:\n{one}\n{other}", self.name(id));
                    verdict.add(ViolationKind::Doubled, call.start, text);
                }
                Creation::Possible(id) => addresses.entry(id).or_default().possible_creators.push(call),
                Creation::No => {}
            }
        }
        for (id, address) in &addresses {
            self.created_once(*id, address, verdict);
        }
    }

    /// The customer was created by the call that was told so, or else by one that may have.
    fn created_once(&self, id: Id, address: &Address, verdict: &mut Verdict) {
        let Some(seen) = address.first_seen else { return };
        if id >= FIRST_OUTSIDER {
            return;
        }
        let text = match address.creator {
            Some(creator) if seen.end >= creator.start => return,
            Some(creator) => {
                format!("{} existed before it was created:\n{}", self.name(id), self.line(creator))
            }
            None if address.possible_creators.iter().any(|call| call.start <= seen.end) => return,
            None => format!("{} exists, and no call was told that it created it:", self.name(id)),
        };
        verdict.add(ViolationKind::Repeated, seen.start, format!("{text}\n{}", self.line(seen)));
    }

    fn mentions(&self, call: &Call) -> Vec<Mention> {
        let mention = |id, reference, email| Mention { id, reference, email };
        match (&call.request, &call.answer) {
            (Request::Create { id }, Answer::Customer { reference, email, .. }) => {
                vec![mention(*id, Some(*reference), Some(*email))]
            }
            (Request::Match { manager, customer, .. }, Answer::Matched(Some(relation))) => vec![
                mention(*manager, Some(relation.manager), None),
                mention(*customer, Some(relation.customer), Some(relation.email)),
            ],
            (Request::Match { customer, by_email: true, .. }, Answer::Matched(None)) => {
                vec![mention(*customer, None, None)]
            }
            (Request::LogIn { id }, Answer::LoggedIn { .. }) => vec![mention(*id, None, None)],
            (Request::Detail { id, .. }, Answer::Detailed { reference }) => {
                vec![mention(*id, Some(*reference), None)]
            }
            (_, Answer::Listed(list)) => list
                .items
                .iter()
                .filter_map(|item| {
                    Some(mention(*self.by_email.get(&item.email)?, Some(item.reference), None))
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Customers that no call may have created.
    fn strangers(&self, call: &Call, verdict: &mut Verdict) {
        match (&call.request, &call.answer) {
            (Request::Create { id }, Answer::Customer { created: false, .. }) if *id >= FIRST_OUTSIDER => {
                let text = "Only rejected calls named this e-mail address, and it is a customer's:";
                verdict.add(ViolationKind::Trace, call.start, format!("{text}\n{}", self.line(call)));
            }
            (_, Answer::Listed(list)) => {
                for item in &list.items {
                    if self.by_email.get(&item.email).is_none_or(|id| *id >= FIRST_OUTSIDER) {
                        let text = format!(
                            "No call matched {} <{}>, who is in the list:\n{}",
                            self.text(item.reference),
                            self.text(item.email),
                            self.line(call)
                        );
                        verdict.add(ViolationKind::Trace, call.start, text);
                    }
                }
            }
            _ => {}
        }
    }
}

enum Creation {
    Told(Id),
    Possible(Id),
    No,
}

fn creation(call: &Call) -> Creation {
    match (&call.request, &call.answer) {
        (_, Answer::NotSent) => Creation::No,
        (Request::Create { id }, Answer::Customer { created: true, .. }) => Creation::Told(*id),
        (Request::Match { customer, .. }, Answer::Matched(Some(relation))) if relation.customer_created => {
            Creation::Told(*customer)
        }
        (Request::Match { customer: id, by_email: true, .. }, Answer::Matched(None))
        | (Request::LogIn { id }, _) => Creation::Possible(*id),
        (Request::Create { id } | Request::Match { customer: id, by_email: true, .. }, answer)
            if !is_certain(answer) =>
        {
            Creation::Possible(*id)
        }
        _ => Creation::No,
    }
}
