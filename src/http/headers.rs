//! Header names of this API, and the headers that tell a client what is left of its key's limit and life (contract §3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use chrono::{DateTime, Utc};

use crate::error::whole_seconds;
use crate::rate_limit::Decision;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) const RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// RFC 7240.
pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");
/// RFC 7240: which preference was applied.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// RFC 8594: when the key of the call ends.
pub(crate) const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// A date as HTTP writes it (RFC 9110, 5.6.7).
pub(crate) fn insert_sunset(headers: &mut HeaderMap, at: DateTime<Utc>) {
    // A year of more than four digits has no such form.
    if let Ok(date) = HeaderValue::try_from(at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
        headers.insert(SUNSET, date);
    }
}

/// On every answer to a known key that has a limit, errors and timeouts included.
pub(crate) fn insert_rate_limit(headers: &mut HeaderMap, decision: Decision) {
    headers.insert(RATE_LIMIT_LIMIT, decision.limit.into());
    headers.insert(RATE_LIMIT_REMAINING, decision.remaining.into());
    headers.insert(RATE_LIMIT_RESET, unix_seconds_in(decision.reset));
}

/// Rounded up, so that a client which waits until then is not early.
fn unix_seconds_in(time: Duration) -> HeaderValue {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    whole_seconds(now + time).into()
}
