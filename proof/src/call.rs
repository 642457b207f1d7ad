//! A call: what was asked, what was answered, and when.

use crate::customers::Id;
use crate::interner::Symbol;
use crate::model::{Change, Time};

/// One line of the history.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which client sent it; each sends one at a time.
    pub client: usize,
    pub start: Time,
    pub end: Time,
    pub request: Request,
    pub answer: Answer,
}

#[derive(Debug, Clone)]
pub enum Request {
    Match {
        manager: Id,
        customer: Id,
        by_email: bool,
        notice: Option<Symbol>,
        represent: bool,
    },
    Unmatch {
        manager: Id,
        customer: Id,
    },
    /// The whole list, or its first page.
    List {
        of: Id,
    },
    Create {
        id: Id,
    },
    /// Must be refused and leave no trace.
    Wrong {
        wrong: Wrong,
    },
}

/// What is wrong with a request, and how it must be refused.
#[derive(Debug, Clone, Copy)]
pub struct Wrong {
    pub what: &'static str,
    pub status: u16,
    pub code: &'static str,
    /// Whose address is in it, if nobody else may ever have heard of that.
    pub outsider: Option<Id>,
}

#[derive(Debug, Clone)]
pub enum Answer {
    Matched(Option<Representation>),
    Unmatched,
    /// 404: never matched.
    NeverMatched,
    Listed(List),
    Customer {
        created: bool,
        reference: Symbol,
        email: Symbol,
    },
    /// As it had to be.
    Refused,
    /// 503: nobody knows whether it took effect.
    Unavailable,
    /// The connection was lost: nobody knows.
    Lost,
    /// The server cannot have heard of it.
    NotSent,
    /// No answer at all.
    Late,
    /// What it must never say.
    Unexpected(String),
}

/// `Prefer: return=representation`.
#[derive(Debug, Clone, Copy)]
pub struct Representation {
    pub change: Change,
    pub customer_created: bool,
    pub manager: Symbol,
    pub customer: Symbol,
    pub email: Symbol,
    pub notice: Symbol,
    pub active: bool,
}

#[derive(Debug, Clone, Default)]
pub struct List {
    pub items: Vec<Item>,
    /// Whether there is nobody else in it.
    pub complete: bool,
    pub item_count: u64,
    /// In how many pages it was read.
    pub pages: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    pub reference: Symbol,
    pub email: Symbol,
    pub notice: Symbol,
    /// What the listed customer is: manager of the one whose list it is, managed by it, or both.
    pub manages: bool,
    pub is_managed: bool,
    pub matched_at: Symbol,
    pub updated_at: Symbol,
}
