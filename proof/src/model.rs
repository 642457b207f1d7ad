//! What the relation of two customers is to its callers, and what each call does to it.

use crate::interner::Symbol;

/// Nanoseconds since the run began, by the monotonic clock.
pub type Time = u64;

/// The relation between two calls. The default: nobody has ever matched the two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct State {
    life: Life,
    /// Which of the two sides acts as manager.
    managers: [bool; 2],
    /// Stays when the relation ends.
    notice: Symbol,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Life {
    #[default]
    Never,
    Active,
    Ended,
}

/// What happened to the relation, as `Prefer: return=representation` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    Created,
    Updated,
    Unchanged,
    Reactivated,
}

/// What somebody saw of the relation at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sight {
    /// Not in the list of one of the two.
    Absent,
    /// In the list of one of the two.
    Listed { managers: [bool; 2], notice: Symbol },
    /// In the answer to a match, after the match.
    Shown { active: bool, notice: Symbol },
}

/// A call, as far as one pair is concerned, and what was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `notice`: `None` keeps the one that is there. `change`: if it was answered.
    Match { manager: usize, notice: Option<Symbol>, change: Option<Change> },
    /// `found` is false when the answer was that the two were never matched.
    Unmatch { found: bool },
    /// Changes nothing.
    Read(Sight),
}

/// How often a call took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It was answered while nothing was broken.
    Once,
    /// It was answered, but the server may have lost the first answer of the database and written again: matches and
    /// unmatches are idempotent, and nobody but the server knows. The answer is to the last time.
    AtLeastOnce,
    /// It was not answered: never, once or several times.
    Perhaps,
}

/// A call on one pair, from when it was sent to when it can no longer take effect.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    pub start: Time,
    pub end: Time,
    pub kind: Kind,
    pub effect: Effect,
    /// Its place in the history.
    pub call: usize,
}

impl State {
    /// The relation after the call.
    pub fn after(self, kind: Kind) -> Self {
        match kind {
            Kind::Match { manager, notice, .. } => {
                let mut managers = self.managers;
                managers[manager] = true;
                Self { life: Life::Active, managers, notice: notice.unwrap_or(self.notice) }
            }
            Kind::Unmatch { .. } if self.life == Life::Never => self,
            Kind::Unmatch { .. } => Self { life: Life::Ended, ..self },
            Kind::Read(_) => self,
        }
    }

    /// Whether the call, taking effect now, is answered as it was.
    pub fn answers(self, kind: Kind) -> bool {
        match kind {
            Kind::Match { change: None, .. } => true,
            Kind::Match { change: Some(change), .. } => change == self.change_to(self.after(kind)),
            Kind::Unmatch { found } => found == (self.life != Life::Never),
            Kind::Read(Sight::Absent) => self.life != Life::Active,
            Kind::Read(Sight::Listed { managers, notice }) => {
                self == Self { life: Life::Active, managers, notice }
            }
            Kind::Read(Sight::Shown { active, notice }) => {
                self.life == if active { Life::Active } else { Life::Ended } && self.notice == notice
            }
        }
    }

    fn change_to(self, after: Self) -> Change {
        match self.life {
            Life::Never => Change::Created,
            Life::Ended => Change::Reactivated,
            Life::Active if self == after => Change::Unchanged,
            Life::Active => Change::Updated,
        }
    }
}
