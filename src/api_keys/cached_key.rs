//! One cached API key: its state, the calls of its current window, and this server's quota of its rate limit.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::RateLimits;
use crate::db::api_key::KeyState;
use crate::domain::KeyKind;
use crate::rate_limit::{Decision, QuotaLease, SlidingWindow, WINDOW, quota};

/// Precision of a key's recorded last use.
const RECORD_USE_EVERY: Duration = Duration::from_secs(60);
/// How long the first calls wait for a quota above zero while other servers hold the whole limit. A server that was killed
/// keeps its quota until its heartbeat has not changed for two seconds; this adds two refreshes.
const FIRST_QUOTA_WAIT: Duration = Duration::from_millis(2500);

pub struct CachedKey {
    pub(super) id: i64,
    kind: KeyKind,
    limits: RateLimits,
    inner: Mutex<Inner>,
}

struct Inner {
    /// `None` once the row was deleted from the table.
    state: Option<Arc<KeyState>>,
    /// When the query for the state was sent: the state is at least as new.
    as_of: Instant,
    last_used: Instant,
    last_client_ip: Option<IpAddr>,
    last_use_recorded_at: Option<Instant>,
    /// Whether the refresher keeps this key fresh.
    in_use: bool,
    window: SlidingWindow,
    /// Calls that this server may admit within a window; `None` before the first exchange.
    quota: Option<u32>,
    first_quota_deadline: Instant,
    /// Calls since the last exchange, admitted or not.
    calls_since_exchange: u32,
    demand: u32,
    /// Calls of the current window on other servers, as of the last exchange.
    calls_elsewhere: u32,
    /// The lease that other servers read.
    published: Option<QuotaLease>,
}

/// What a request sees of a key.
pub(super) struct Snapshot {
    pub(super) state: Option<Arc<KeyState>>,
    pub(super) age: Duration,
    /// Whether this server's quota is known; true for a key without a limit.
    pub(super) has_quota: bool,
    /// Whether the key is to be sent to the refresher, as this call made it a key in use.
    pub(super) newly_in_use: bool,
}

impl CachedKey {
    pub(super) fn new(kind: KeyKind, limits: RateLimits, state: KeyState, as_of: Instant) -> Self {
        let id = state.id;
        let inner = Inner {
            state: Some(Arc::new(state)),
            as_of,
            last_used: as_of,
            last_client_ip: None,
            last_use_recorded_at: None,
            in_use: false,
            window: SlidingWindow::default(),
            quota: None,
            first_quota_deadline: as_of,
            calls_since_exchange: 0,
            demand: 0,
            calls_elsewhere: 0,
            published: None,
        };
        Self { id, kind, limits, inner: Mutex::new(inner) }
    }

    pub(super) fn access(&self, now: Instant) -> Snapshot {
        let mut inner = self.lock();
        inner.last_used = now;
        let newly_in_use = !inner.in_use;
        if newly_in_use {
            inner.in_use = true;
            inner.first_quota_deadline = now + FIRST_QUOTA_WAIT;
        }
        let has_quota = match inner.quota {
            Some(0) => now >= inner.first_quota_deadline,
            Some(_) => true,
            None => self.limit(&inner).is_none(),
        };
        let age = now.saturating_duration_since(inner.as_of);
        Snapshot { state: inner.state.clone(), age, has_quota, newly_in_use }
    }

    pub(super) fn update(&self, state: Option<KeyState>, as_of: Instant) {
        let mut inner = self.lock();
        inner.state = state.map(Arc::new);
        inner.as_of = as_of;
    }

    /// Ages the state by `max_staleness`, so that the next request waits for a refresh.
    pub(super) fn mark_stale(&self, max_staleness: Duration) {
        let mut inner = self.lock();
        inner.as_of = inner.as_of.checked_sub(max_staleness).unwrap_or(inner.as_of);
    }

    /// Releases the quota of a key without calls in the current window. Returns whether it did.
    pub(super) fn deactivate_if_idle(&self, now: Instant) -> bool {
        let mut inner = self.lock();
        let idle = now.saturating_duration_since(inner.last_used) > WINDOW;
        if idle {
            inner.in_use = false;
            inner.quota = None;
            inner.published = None;
        }
        idle
    }

    /// Notes which client uses the key, for the record of its last use.
    pub(super) fn used_by(&self, client_ip: Option<IpAddr>) {
        self.lock().last_client_ip = client_ip;
    }

    pub(super) fn last_client_ip(&self) -> Option<IpAddr> {
        self.lock().last_client_ip
    }

    pub(super) fn should_record_use(&self, now: Instant) -> bool {
        let inner = self.lock();
        inner
            .last_use_recorded_at
            .is_none_or(|at| inner.last_used > at && now.saturating_duration_since(at) >= RECORD_USE_EVERY)
    }

    pub(super) fn use_recorded(&self, at: Instant) {
        self.lock().last_use_recorded_at = Some(at);
    }

    /// Counts a call if this server's quota admits it; `None` for a key without a limit. `remaining` in the decision is what
    /// all servers together have left, as of the last exchange.
    pub fn admit(&self, now: Instant) -> Option<Decision> {
        let mut inner = self.lock();
        let limit = self.limit(&inner)?;
        // Without an exchange in all the time that the request waited, this server enforces the whole limit by itself.
        let quota = inner.quota.unwrap_or(limit).min(limit);
        inner.calls_since_exchange = inner.calls_since_exchange.saturating_add(1);
        let decision = inner.window.admit(quota, now);
        let remaining = match decision.admitted {
            true => (decision.remaining + (limit - quota)).saturating_sub(inner.calls_elsewhere),
            false => 0,
        };
        Some(Decision { limit, remaining, ..decision })
    }

    /// Computes this server's next lease from those of the other servers; `None` for a key without a limit. A lower quota
    /// takes effect now, before others can see that it is free; a higher one only after it was [published](Self::published).
    pub(super) fn next_lease(&self, others: &[QuotaLease], now: Instant) -> Option<QuotaLease> {
        let mut inner = self.lock();
        let limit = self.limit(&inner)?;
        let calls = inner.window.calls(now);
        let demand = std::mem::take(&mut inner.calls_since_exchange).max(inner.demand / 2).max(1);
        let quota = quota(limit, calls, demand, others);
        inner.demand = demand;
        inner.calls_elsewhere = others.iter().fold(0, |calls, other| calls.saturating_add(other.calls));
        inner.quota = inner.quota.map(|current| current.min(quota));
        Some(QuotaLease { calls, quota, demand })
    }

    /// Whether the published lease already tells other servers the same. Without other servers the number of calls does not
    /// matter, which saves a write at each exchange.
    pub(super) fn is_published(&self, lease: QuotaLease, sole_server: bool) -> bool {
        self.lock().published.is_some_and(|published| {
            published.quota == lease.quota && (sole_server || published.calls == lease.calls)
        })
    }

    pub(super) fn published(&self, lease: QuotaLease) {
        let mut inner = self.lock();
        inner.quota = Some(lease.quota);
        inner.published = Some(lease);
    }

    /// Other servers cannot see the lease any more.
    pub(super) fn unpublish(&self) {
        self.lock().published = None;
    }

    /// Takes the whole limit unless there is a quota: for a database on which leases cannot be exchanged.
    pub(super) fn assume_sole_server(&self) {
        self.lock().quota.get_or_insert(u32::MAX);
    }

    fn limit(&self, inner: &Inner) -> Option<u32> {
        self.limits.of(self.kind, inner.state.as_ref().and_then(|state| state.limit_per_minute()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic cannot leave the fields inconsistent: each is set on its own.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
