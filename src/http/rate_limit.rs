//! The headers that tell a caller how much of its limit is left (contract §3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use super::slot::Slot;
use crate::error::whole_seconds;
use crate::rate_limit::Decision;

pub(super) const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(super) const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(super) const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Notes what this request's key is left with.
pub(super) fn record(extensions: &Extensions, allowance: Decision) {
    Slot::fill(extensions, allowance);
}

/// Puts the headers on an answer: on every one to a known key that is limited, refusals and timeouts included.
pub(super) fn announce(headers: &mut HeaderMap, allowance: Decision) {
    headers.insert(LIMIT, allowance.limit.into());
    headers.insert(REMAINING, allowance.remaining.into());
    headers.insert(RESET, at(allowance.reset));
}

/// A moment this far from now in Unix seconds, rounded up: whoever waits for it has waited long enough.
fn at(from_now: Duration) -> HeaderValue {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    whole_seconds(now + from_now).into()
}
