//! The sequential specification: the state of a relation, and what each operation does to it and answers.

use crate::interner::Symbol;

/// Nanoseconds since the run began, on the monotonic clock.
pub type Time = u64;

/// The state of a relation between two operations. The default: the two were never matched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct State {
    life: Life,
    /// Which of the two sides acts as manager.
    managers: [bool; 2],
    /// Stays when the relation is deactivated.
    notice: Symbol,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Life {
    #[default]
    NeverMatched,
    Active,
    Inactive,
}

/// `outcome` of `Prefer: return=representation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    Created,
    Updated,
    Unchanged,
    Reactivated,
}

/// What a list shows of the relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listing {
    Absent,
    Present { managers: [bool; 2], notice: Symbol },
}

/// The representation that a match was answered with: the relation as this match left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shown {
    pub change: Change,
    pub active: bool,
    pub notice: Symbol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A `notice` of `None` keeps the present one.
    /// With a condition it takes effect only on the state that its client `expected`.
    Match { manager: usize, notice: Option<Symbol>, expected: Option<State>, shown: Option<Shown> },
    /// A match whose condition does not hold: it shows the relation as it is, and changes nothing.
    Conflict(State),
    /// `found` is false if the answer was that the two were never matched.
    Unmatch { found: bool },
    /// Changes nothing.
    List(Listing),
}

/// How often an operation takes effect between its start and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It was answered.
    Once,
    /// It was answered 503, or its connection was lost.
    AtMostOnce,
    /// Any number of times. No guarantee: it stands for what an explanation leaves out.
    AnyNumber,
}

/// A call, as far as one pair is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    pub start: Time,
    /// It takes no effect later than this.
    pub end: Time,
    pub kind: Kind,
    pub effect: Effect,
    /// Its index in the history.
    pub call: usize,
}

impl State {
    /// As an answer shows it.
    pub fn shown(active: bool, managers: [bool; 2], notice: Symbol) -> Self {
        Self { life: if active { Life::Active } else { Life::Inactive }, managers, notice }
    }

    pub fn is_active(self) -> bool {
        self.life == Life::Active
    }

    pub fn notice(self) -> Symbol {
        self.notice
    }

    pub fn with_notice(self, change: impl Fn(Symbol) -> Symbol) -> Self {
        Self { notice: change(self.notice), ..self }
    }

    pub fn after(self, kind: Kind) -> Self {
        match kind {
            Kind::Match { expected: Some(expected), .. } if self != expected => self,
            Kind::Match { manager, notice, .. } => {
                let mut managers = self.managers;
                managers[manager] = true;
                Self { life: Life::Active, managers, notice: notice.unwrap_or(self.notice) }
            }
            Kind::Unmatch { .. } if self.life == Life::NeverMatched => self,
            Kind::Unmatch { .. } => Self { life: Life::Inactive, ..self },
            Kind::List(_) | Kind::Conflict(_) => self,
        }
    }

    /// Whether the answer is right if the operation takes effect in this state.
    pub fn allows(self, kind: Kind) -> bool {
        match kind {
            Kind::Match { expected: Some(expected), .. } if self != expected => false,
            Kind::Match { shown: None, .. } => true,
            Kind::Match { shown: Some(shown), .. } => {
                let after = self.after(kind);
                shown == Shown { change: self.change_to(after), active: true, notice: after.notice }
            }
            Kind::Conflict(shown) => self == shown,
            Kind::Unmatch { found } => found == (self.life != Life::NeverMatched),
            Kind::List(Listing::Absent) => self.life != Life::Active,
            Kind::List(Listing::Present { managers, notice }) => {
                self == Self { life: Life::Active, managers, notice }
            }
        }
    }

    fn change_to(self, after: Self) -> Change {
        match self.life {
            Life::NeverMatched => Change::Created,
            Life::Inactive => Change::Reactivated,
            Life::Active if self == after => Change::Unchanged,
            Life::Active => Change::Updated,
        }
    }
}

/// The history up to a moment. What ends later may have taken effect, if with the answer that it gets.
pub fn until(ops: &[Op], end: Time) -> Vec<Op> {
    let begun = ops.iter().filter(|op| op.start <= end);
    let open = |op: &Op| (!op.kind.is_read()).then_some(Op { effect: Effect::AtMostOnce, ..*op });
    begun.filter_map(|op| if op.end <= end { Some(*op) } else { open(op) }).collect()
}

impl Op {
    /// The same write, if it were not answered.
    pub fn unanswered(self) -> Self {
        Self { kind: self.kind.unanswered(), effect: Effect::AtMostOnce, ..self }
    }
}

impl Kind {
    pub fn is_read(self) -> bool {
        matches!(self, Self::List(_) | Self::Conflict(_))
    }

    /// All that it writes or shows.
    pub fn notices(self) -> impl Iterator<Item = Symbol> {
        let notices = match self {
            Self::Match { notice, expected, shown, .. } => {
                [notice, expected.map(State::notice), shown.map(|shown| shown.notice)]
            }
            Self::Unmatch { .. } | Self::List(Listing::Absent) => [None; 3],
            Self::List(Listing::Present { notice, .. }) => [Some(notice), None, None],
            Self::Conflict(state) => [Some(state.notice), None, None],
        };
        notices.into_iter().flatten()
    }

    /// Writes another notice.
    pub fn with_notice(self, change: impl Fn(Symbol) -> Symbol) -> Self {
        match self {
            Self::Match { manager, notice, expected, shown } => {
                let expected = expected.map(|state| state.with_notice(&change));
                Self::Match { manager, notice: notice.map(change), expected, shown }
            }
            _ => self,
        }
    }

    /// The same effect, whatever is answered.
    pub fn unanswered(self) -> Self {
        match self {
            Self::Match { manager, notice, expected, .. } => {
                Self::Match { manager, notice, expected, shown: None }
            }
            Self::Unmatch { .. } => Self::Unmatch { found: true },
            Self::List(_) | Self::Conflict(_) => self,
        }
    }
}
