//! A key that this server has seen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::RateLimits;
use crate::db::api_key::KeyState;
use crate::domain::KeyKind;
use crate::rate_limit::{Allowance, Window};

/// How exact the time of a key's last use is.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// What is known of a key, and its calls of the last minute.
pub struct Key {
    /// In the table.
    pub(super) id: i64,
    kind: KeyKind,
    known: Mutex<Known>,
    /// Since the last time it was brought up to date.
    used: AtomicBool,
}

struct Known {
    /// `None`: it is not in the table any more.
    state: Option<Arc<KeyState>>,
    /// When the state was asked for; it is at least as new.
    as_of: Instant,
    window: Window,
    /// When it was last noted in the table that the key is in use.
    noted: Option<Instant>,
}

impl Key {
    pub(super) fn new(kind: KeyKind, state: KeyState, as_of: Instant) -> Self {
        let id = state.id;
        let known = Known { state: Some(Arc::new(state)), as_of, window: Window::default(), noted: None };
        Self { id, kind, known: Mutex::new(known), used: AtomicBool::new(false) }
    }

    /// The state, and how old it may be.
    pub(super) fn state(&self, now: Instant) -> (Option<Arc<KeyState>>, Duration) {
        let known = self.lock();
        (known.state.clone(), now.saturating_duration_since(known.as_of))
    }

    pub(super) fn update(&self, state: Option<KeyState>, as_of: Instant) {
        let mut known = self.lock();
        known.state = state.map(Arc::new);
        known.as_of = as_of;
    }

    /// Makes the state older than this, for something has happened to it.
    pub(super) fn outdate(&self, age: Duration) {
        let mut known = self.lock();
        known.as_of = known.as_of.checked_sub(age).unwrap_or(known.as_of);
    }

    /// Whether it is time to note that the key is in use.
    pub(super) fn note_is_due(&self, now: Instant) -> bool {
        self.lock().noted.is_none_or(|at| now.saturating_duration_since(at) >= NOTE_EVERY)
    }

    pub(super) fn noted(&self, at: Instant) {
        self.lock().noted = Some(at);
    }

    /// True when it was not marked yet.
    pub(super) fn mark_used(&self) -> bool {
        // Most often it is, and looking costs less than writing.
        !self.used.load(Ordering::Relaxed) && !self.used.swap(true, Ordering::AcqRel)
    }

    pub(super) fn unmark_used(&self) {
        self.used.store(false, Ordering::Release);
    }

    /// Lets a call in, or not, and says what is left; `None` for a key that is not limited.
    pub fn admit(&self, limits: &RateLimits, now: Instant) -> Option<Allowance> {
        let mut known = self.lock();
        let own = known.state.as_ref().and_then(|state| state.limit_per_minute());
        let limit = limits.of(self.kind, own)?;
        Some(known.window.admit(limit, now))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing in here leaves it half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
