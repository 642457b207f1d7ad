//! The record of one call: the request, the answer, and when.

use crate::customers::Id;
use crate::interner::Symbol;
use crate::model::{Shown, State, Time};

#[derive(Debug, Clone)]
pub struct Call {
    /// Each client makes one call at a time.
    pub client: usize,
    pub start: Time,
    pub end: Time,
    pub request: Request,
    pub answer: Answer,
}

/// The relation as an answer showed it. As the condition of a match: it takes effect only on this version, or only if there is
/// no relation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub version: Option<u64>,
    pub state: State,
}

#[derive(Debug, Clone)]
pub enum Request {
    Match {
        manager: Id,
        customer: Id,
        by_email: bool,
        notice: Option<Symbol>,
        condition: Option<Seen>,
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
    /// `magic-auth`.
    LogIn {
        id: Id,
    },
    /// `detail` with an identity.
    Detail {
        id: Id,
        identity: Symbol,
    },
    LogOut {
        id: Id,
        identity: Symbol,
    },
    /// Must be rejected and leave no trace.
    Invalid(Invalid),
}

impl Request {
    /// Reads have another deadline.
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::List { .. } | Self::Detail { .. })
    }

    pub fn customers(&self) -> impl Iterator<Item = Id> + use<> {
        let ids = match *self {
            Self::Match { manager, customer, .. } | Self::Unmatch { manager, customer } => {
                [Some(manager), Some(customer)]
            }
            Self::List { of: id }
            | Self::Create { id }
            | Self::LogIn { id }
            | Self::Detail { id, .. }
            | Self::LogOut { id, .. } => [Some(id), None],
            Self::Invalid(invalid) => [invalid.outsider, None],
        };
        ids.into_iter().flatten()
    }
}

/// What is wrong with a request, and the error that it must be answered with.
#[derive(Debug, Clone, Copy)]
pub struct Invalid {
    pub what: &'static str,
    pub status: u16,
    pub code: &'static str,
    /// The customer whose e-mail address is in it and in no valid request.
    pub outsider: Option<Id>,
}

#[derive(Debug, Clone)]
pub enum Answer {
    Matched(Option<Representation>),
    /// 412: the condition does not hold.
    Conflict(Seen),
    Unmatched,
    /// 404: the two were never matched.
    NeverMatched,
    Listed(List),
    Customer {
        created: bool,
        reference: Symbol,
        email: Symbol,
    },
    LoggedIn {
        identity: Symbol,
    },
    /// The detail of this customer.
    Detailed {
        reference: Symbol,
    },
    LoggedOut,
    /// 401: the identity has been logged out.
    NotLoggedIn,
    /// The error that an invalid request must be answered with.
    Rejected,
    /// 503.
    Unavailable,
    /// The connection was lost before the answer.
    Lost,
    /// There was no connection: the server did not receive the call.
    NotSent,
    /// The client gave up waiting.
    TimedOut,
    /// An answer that the contract does not allow.
    Unexpected(String),
}

impl Answer {
    pub fn is_served(&self) -> bool {
        !matches!(self, Self::Unavailable | Self::Lost | Self::NotSent | Self::TimedOut)
    }

    pub fn is_acknowledged(&self) -> bool {
        self.is_served() && !self.is_rejected() && !matches!(self, Self::Unexpected(_))
    }

    pub fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected | Self::NeverMatched | Self::Conflict(_))
    }
}

/// `Prefer: return=representation`.
#[derive(Debug, Clone, Copy)]
pub struct Representation {
    pub shown: Shown,
    pub customer_created: bool,
    pub manager: Symbol,
    pub customer: Symbol,
    pub email: Symbol,
}

#[derive(Debug, Clone, Default)]
pub struct List {
    pub items: Vec<Item>,
    /// Whether the last page is in it.
    pub complete: bool,
    pub item_count: u64,
    pub pages: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    pub reference: Symbol,
    pub email: Symbol,
    pub notice: Symbol,
    /// The role of the listed customer: manager of the one whose list it is, managed by it, or both.
    pub manages: bool,
    pub is_managed: bool,
    pub matched_at: Symbol,
    pub updated_at: Symbol,
}
