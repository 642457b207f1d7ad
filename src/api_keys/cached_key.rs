//! A key that this server has seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::RateLimits;
use crate::db::api_key::KeyState;
use crate::domain::KeyKind;
use crate::rate_limit::{Decision, QuotaLease, SlidingWindow, WINDOW, quota};

/// How exact the time of a key's last use is.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// How long calls wait for the first quota of a limit that other servers hold: longer than one that has died is taken for
/// alive, and than two rounds.
const NEWCOMER: Duration = Duration::from_millis(2500);

/// What is known of a key, its calls of the last minute, and how many there may be.
pub struct CachedKey {
    /// In the table.
    pub(super) id: i64,
    kind: KeyKind,
    limits: RateLimits,
    known: Mutex<Known>,
}

struct Known {
    /// `None`: it is not in the table any more.
    state: Option<Arc<KeyState>>,
    /// When the state was asked for; it is at least as new.
    as_of: Instant,
    last_used: Instant,
    /// When it was last noted in the table that the key is in use.
    noted: Option<Instant>,
    /// Whether the rounds bring it up to date.
    in_rounds: bool,
    window: SlidingWindow,
    /// How much of the limit this server has; `None`: it has not asked yet.
    quota: Option<u32>,
    /// Until when calls wait for a first quota that is more than nothing.
    newcomer_until: Instant,
    /// Calls since the last exchange, let in or not.
    wanted: u32,
    demand: u32,
    /// Calls of the last minute on other servers, as far as is known.
    elsewhere: u32,
    /// What other servers can read of this one.
    written: Option<QuotaLease>,
}

/// A key as a request finds it.
pub(super) struct Look {
    pub(super) state: Option<Arc<KeyState>>,
    pub(super) age: Duration,
    /// Whether it is known how many calls there may be.
    pub(super) counted: bool,
    /// Whether it has just come into use and is to join the rounds.
    pub(super) joins: bool,
}

impl CachedKey {
    pub(super) fn new(kind: KeyKind, limits: RateLimits, state: KeyState, as_of: Instant) -> Self {
        let id = state.id;
        let known = Known {
            state: Some(Arc::new(state)),
            as_of,
            last_used: as_of,
            noted: None,
            in_rounds: false,
            window: SlidingWindow::default(),
            quota: None,
            newcomer_until: as_of,
            wanted: 0,
            demand: 0,
            elsewhere: 0,
            written: None,
        };
        Self { id, kind, limits, known: Mutex::new(known) }
    }

    /// Finds the key and uses it.
    pub(super) fn look(&self, now: Instant) -> Look {
        let mut known = self.lock();
        known.last_used = now;
        let joins = !known.in_rounds;
        if joins {
            known.in_rounds = true;
            known.newcomer_until = now + NEWCOMER;
        }
        let counted = match known.quota {
            Some(0) => now >= known.newcomer_until,
            Some(_) => true,
            None => self.limit(&known).is_none(),
        };
        let age = now.saturating_duration_since(known.as_of);
        Look { state: known.state.clone(), age, counted, joins }
    }

    pub(super) fn update(&self, state: Option<KeyState>, as_of: Instant) {
        let mut known = self.lock();
        known.state = state.map(Arc::new);
        known.as_of = as_of;
    }

    /// Makes the state older than this, for something has happened to it.
    pub(super) fn mark_stale(&self, age: Duration) {
        let mut known = self.lock();
        known.as_of = known.as_of.checked_sub(age).unwrap_or(known.as_of);
    }

    /// Leaves the rounds, and gives up its quota, when no call of it counts any more.
    pub(super) fn leave_when_idle(&self, now: Instant) -> bool {
        let mut known = self.lock();
        let idle = now.saturating_duration_since(known.last_used) > WINDOW;
        if idle {
            known.in_rounds = false;
            known.quota = None;
            known.written = None;
        }
        idle
    }

    /// Whether it is time to note that the key is in use.
    pub(super) fn note_is_due(&self, now: Instant) -> bool {
        let known = self.lock();
        known.noted.is_none_or(|at| known.last_used > at && now.saturating_duration_since(at) >= NOTE_EVERY)
    }

    pub(super) fn noted(&self, at: Instant) {
        self.lock().noted = Some(at);
    }

    /// Lets a call in, or not, and says what is left; `None` for a key that is not limited.
    pub fn admit(&self, now: Instant) -> Option<Decision> {
        let mut known = self.lock();
        let limit = self.limit(&known)?;
        // Without an exchange for so long that the call has waited, this server counts alone.
        let quota = known.quota.unwrap_or(limit).min(limit);
        known.wanted = known.wanted.saturating_add(1);
        let allowance = known.window.admit(quota, now);
        let below_quota = limit - quota;
        let remaining = match allowance.admitted {
            true => (allowance.remaining + below_quota).saturating_sub(known.elsewhere),
            false => 0,
        };
        Some(Decision { limit, remaining, ..allowance })
    }

    /// What this server is to hold while others hold this; `None` for a key that is not limited. A quota that shrinks does
    /// so at once, one that grows when it has been [written](Self::hold).
    pub(super) fn exchange(&self, others: &[QuotaLease], now: Instant) -> Option<QuotaLease> {
        let mut known = self.lock();
        let limit = self.limit(&known)?;
        let calls = known.window.calls(now);
        let demand = std::mem::take(&mut known.wanted).max(known.demand / 2).max(1);
        let quota = quota(limit, calls, demand, others);
        known.demand = demand;
        known.elsewhere = others.iter().fold(0, |calls, other| calls.saturating_add(other.calls));
        known.quota = known.quota.map(|old| old.min(quota));
        Some(QuotaLease { calls, quota, demand })
    }

    /// Whether others could not tell this from what they can read already. With nobody to read the calls, the quota is
    /// what matters.
    pub(super) fn is_written(&self, holding: QuotaLease, alone: bool) -> bool {
        self.lock().written.is_some_and(|written| {
            written.quota == holding.quota && (alone || written.calls == holding.calls)
        })
    }

    /// The quota has been written.
    pub(super) fn hold(&self, holding: QuotaLease) {
        let mut known = self.lock();
        known.quota = Some(holding.quota);
        known.written = Some(holding);
    }

    /// There was no exchange, and there is none to wait for.
    pub(super) fn count_alone(&self) {
        self.lock().quota.get_or_insert(u32::MAX);
    }

    fn limit(&self, known: &Known) -> Option<u32> {
        self.limits.of(self.kind, known.state.as_ref().and_then(|state| state.limit_per_minute()))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing in here leaves it half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
