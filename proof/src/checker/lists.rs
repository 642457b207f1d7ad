//! Each list by itself, and the last ones from both sides.

use std::collections::{BTreeMap, HashSet};

use super::{Checker, Verdict, ViolationKind};
use crate::call::{Call, Item};
use crate::customers::Id;
use crate::interner::Symbol;

impl Checker<'_> {
    /// No customer is in a list twice, the customer itself is not in it, and `itemCount` is right.
    pub(super) fn lists(&self, verdict: &mut Verdict) {
        for (call, of, list) in self.all_lists() {
            let mut seen = HashSet::new();
            let twice = list.items.iter().find(|item| !seen.insert(item.reference));
            let itself = list.items.iter().find(|item| self.by_email.get(&item.email) == Some(&of));
            let miscounted = list.complete && list.pages == 1 && list.item_count != list.items.len() as u64;
            let (kind, text) = match (twice, itself) {
                (Some(item), _) => {
                    (ViolationKind::Doubled, format!("{} is in the list twice:", self.text(item.reference)))
                }
                (_, Some(_)) => (ViolationKind::Trace, format!("{} is matched with itself:", self.name(of))),
                _ if miscounted => {
                    let text =
                        format!("itemCount is {}, the items are {}:", list.item_count, list.items.len());
                    (ViolationKind::Answer, text)
                }
                _ => continue,
            };
            verdict.add(kind, call.start, format!("{text}\n{}", self.line(call)));
        }
    }

    /// When no call changes anything any more, both sides see the same.
    pub(super) fn both_sides(&self, verdict: &mut Verdict) {
        let mut last: BTreeMap<(Id, Id), (&Call, Item)> = BTreeMap::new();
        let mut read = HashSet::new();
        for (call, of, list) in self.all_lists().filter(|(call, ..)| call.start >= self.run.quiesced) {
            read.insert(of);
            for item in &list.items {
                if let Some(other) = self.by_email.get(&item.email) {
                    last.insert((of, *other), (call, *item));
                }
            }
        }
        let without_names =
            |item: &Item| Item { reference: Symbol::default(), email: Symbol::default(), ..*item };
        let mirrored = |item: &Item| {
            without_names(&Item { manages: item.is_managed, is_managed: item.manages, ..*item })
        };
        for ((of, other), (call, item)) in &last {
            let seen = last.get(&(*other, *of));
            let agree = seen.is_some_and(|(_, seen)| mirrored(seen) == without_names(item));
            if agree || !read.contains(other) {
                continue;
            }
            let counterpart = seen.map_or_else(
                || "it is not in the other's list".to_owned(),
                |(call, _)| format!("the other side sees\n{}", self.line(call)),
            );
            let text = format!(
                "{} and {} do not see the same: {counterpart}\n{}",
                self.name(*of),
                self.name(*other),
                self.line(call)
            );
            verdict.add(ViolationKind::Missing, call.start, text);
        }
    }
}
