//! Which pairs the unfinished lines of a stream name, as lines about one pair take effect in their order.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use crate::domain::{CuRefNo, Match, NamedCustomer, Unmatch};

/// The names of a pair as hashes. Pairs whose hashes are equal by accident wait for each other without need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    /// Both references in one order, or the manager's and the e-mail address.
    names: [u64; 2],
    by_email: bool,
}

/// Whether a line may be written now.
pub(super) enum Turn<L> {
    Now(L),
    /// It is kept until the line before it has finished.
    Later,
    /// An unfinished line may name the same pair in another way. Until it has finished, no later line may enter.
    Stalled(L),
}

pub(super) struct Pairs<L> {
    hasher: RandomState,
    /// Those of unfinished lines, with the lines that wait for them.
    waiting: HashMap<Pair, VecDeque<L>>,
    by_email: usize,
}

impl<L> Default for Pairs<L> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), waiting: HashMap::new(), by_email: 0 }
    }
}

impl<L> Pairs<L> {
    pub(super) fn of_match(&self, wanted: &Match) -> Pair {
        match &wanted.customer {
            NamedCustomer::CuRefNo(customer) => self.of_references(&wanted.manager, customer),
            NamedCustomer::Email(email) => Pair {
                names: [self.hash(wanted.manager.as_str()), self.hash(email.as_str())],
                by_email: true,
            },
        }
    }

    pub(super) fn of_unmatch(&self, unwanted: &Unmatch) -> Pair {
        self.of_references(&unwanted.manager, &unwanted.customer)
    }

    fn of_references(&self, manager: &CuRefNo, customer: &CuRefNo) -> Pair {
        let mut names = [self.hash(manager.as_str()), self.hash(customer.as_str())];
        names.sort_unstable();
        Pair { names, by_email: false }
    }

    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    /// The line is unfinished from now on, unless it is stalled.
    pub(super) fn enter(&mut self, pair: Pair, line: L) -> Turn<L> {
        if self.may_be_named_otherwise(pair) {
            return Turn::Stalled(line);
        }
        match self.waiting.entry(pair) {
            Entry::Occupied(mut unfinished) => {
                unfinished.get_mut().push_back(line);
                Turn::Later
            }
            Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                self.by_email += usize::from(pair.by_email);
                Turn::Now(line)
            }
        }
    }

    /// A line has finished. Returns the next one of its pair.
    pub(super) fn leave(&mut self, pair: Pair) -> Option<L> {
        let Entry::Occupied(mut unfinished) = self.waiting.entry(pair) else { return None };
        let next = unfinished.get_mut().pop_front();
        if next.is_none() {
            unfinished.remove();
            self.by_email -= usize::from(pair.by_email);
        }
        next
    }

    /// By reference and by e-mail address. The customer of the address may be any, but the manager is one of the pair.
    fn may_be_named_otherwise(&self, pair: Pair) -> bool {
        let same_way = if pair.by_email { self.by_email } else { self.waiting.len() - self.by_email };
        let [manager, _] = pair.names;
        same_way < self.waiting.len()
            && self.waiting.keys().any(|other| match (pair.by_email, other.by_email) {
                (true, false) => other.names.contains(&manager),
                (false, true) => pair.names.contains(&other.names[0]),
                _ => false,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Email;

    const REFERENCES: [&str; 3] = ["1cGIHvFoQDGLAbcA", "5CmsaVNgAQqRqoen", "thirdCustomer001"];

    fn by_reference(pairs: &Pairs<u32>, manager: usize, customer: usize) -> Pair {
        let [manager, customer] = [manager, customer].map(|index| CuRefNo::parse(REFERENCES[index]).unwrap());
        pairs.of_unmatch(&Unmatch { manager, customer, representation: false })
    }

    fn by_email(pairs: &Pairs<u32>, manager: usize, email: &str) -> Pair {
        let manager = CuRefNo::parse(REFERENCES[manager]).unwrap();
        let customer = NamedCustomer::Email(Email::parse(email).unwrap());
        pairs.of_match(&Match { manager, customer, notice: None, representation: false })
    }

    fn enters(pairs: &mut Pairs<u32>, pair: Pair, line: u32) -> &'static str {
        match pairs.enter(pair, line) {
            Turn::Now(_) => "now",
            Turn::Later => "later",
            Turn::Stalled(_) => "stalled",
        }
    }

    #[test]
    fn lines_about_one_pair_come_one_after_the_other() {
        let mut pairs = Pairs::default();
        let pair = by_reference(&pairs, 0, 1);
        assert_eq!(pair, by_reference(&pairs, 1, 0));
        assert_eq!(enters(&mut pairs, pair, 1), "now");
        assert_eq!(enters(&mut pairs, pair, 2), "later");
        let other = by_reference(&pairs, 0, 2);
        assert_eq!(enters(&mut pairs, other, 3), "now");
        assert_eq!(enters(&mut pairs, pair, 4), "later");
        assert_eq!([pairs.leave(pair), pairs.leave(pair), pairs.leave(pair)], [Some(2), Some(4), None]);
        assert_eq!(enters(&mut pairs, pair, 5), "now");
    }

    #[test]
    fn a_pair_that_may_be_named_in_two_ways_stalls() {
        let mut pairs = Pairs::default();
        let jan = by_email(&pairs, 0, "jan@barasek.com");
        let eva = by_email(&pairs, 0, "eva@example.com");
        assert_eq!([enters(&mut pairs, jan, 1), enters(&mut pairs, eva, 2)], ["now", "now"]);
        for (manager, customer, turn) in [(0, 1, "stalled"), (1, 0, "stalled"), (1, 2, "now")] {
            let pair = by_reference(&pairs, manager, customer);
            assert_eq!(enters(&mut pairs, pair, 3), turn);
        }
        for (manager, turn) in [(0, "now"), (1, "stalled"), (2, "stalled")] {
            let pair = by_email(&pairs, manager, "ivo@example.com");
            assert_eq!(enters(&mut pairs, pair, 4), turn);
        }
        for pair in [jan, eva, by_email(&pairs, 0, "ivo@example.com")] {
            assert_eq!(pairs.leave(pair), None);
        }
        let pair = by_reference(&pairs, 0, 1);
        assert_eq!(enters(&mut pairs, pair, 5), "now");
    }
}
