//! One id, one span and one log event for each request, answered or not.
//!
//! Nothing of the URI is logged but the route's template: the query may hold the key. Nothing else that a client wrote
//! is logged as it is either: its method and ids have forms that no secret has.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument, error_span, info};
use uuid::Uuid;

use super::slot::Slot;
use crate::db::api_key::KeyState;
use crate::domain::KeyKind;
use crate::error::ErrorCode;
use crate::metrics::Metrics;

/// On every answer; a client's own is taken over when it is sane.
pub(super) const REQUEST_ID: &str = "x-request-id";
const REQUEST_ID_MAX_OCTETS: usize = 64;
/// Identity ids have as many letters and digits in a row.
const SECRET_RUN: usize = 32;

/// The outermost layer.
pub(super) async fn observe(
    State(metrics): State<Arc<Metrics>>,
    mut request: Request,
    next: Next,
) -> Response {
    let watch = Watch::new(&mut request, metrics);
    // At the highest level: a warning names its request when nothing less is logged. Nothing else is in the span: what is
    // costs a third of a request by the time it is written.
    let span = error_span!("request", id = watch.id(), trace_id = watch.trace_id);
    let id = watch.id.clone();
    let mut response = next.run(request).instrument(span).await;
    watch.answered(&response);
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Notes for the request's event who calls.
pub(super) fn record_caller(extensions: &Extensions, key: &Arc<KeyState>) {
    Slot::fill(extensions, Arc::clone(key));
}

/// Writes the event when the request ends, one way or the other: its future is dropped when the client leaves.
struct Watch {
    metrics: Arc<Metrics>,
    started: Instant,
    id: HeaderValue,
    trace_id: Option<String>,
    method: &'static str,
    route: Option<MatchedPath>,
    caller: Slot<Arc<KeyState>>,
    answered: bool,
}

impl Watch {
    fn new(request: &mut Request, metrics: Arc<Metrics>) -> Self {
        metrics.request_started();
        Self {
            metrics,
            started: Instant::now(),
            id: request_id(request.headers()),
            trace_id: trace_id(request.headers()).map(str::to_owned),
            method: method(request.method()),
            route: request.extensions().get().cloned(),
            caller: Slot::open(request.extensions_mut()),
            answered: false,
        }
    }

    fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    fn answered(mut self, response: &Response) {
        self.answered = true;
        self.end("answered", Some(response.status()), response.extensions().get().copied());
    }

    /// Logs and counts the request.
    fn end(&self, message: &str, status: Option<StatusCode>, error: Option<ErrorCode>) {
        let route = self.route.as_ref().map_or("(none)", MatchedPath::as_str);
        let took = self.started.elapsed();
        self.metrics.request_finished(route, self.method, status, error, took);
        let caller = self.caller.get();
        info!(
            parent: None,
            id = self.id(),
            trace_id = self.trace_id,
            method = self.method,
            route,
            status = status.map(|status| status.as_u16()),
            milliseconds = took.as_secs_f64() * 1000.0,
            organisation = caller.map(|key| key.organisation_id),
            key = caller.map(|key| key.mask.as_str()),
            error = error.map(|code| code.entry().code),
            "{message}"
        );
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.answered {
            self.end("the client left before the answer", None, None);
        }
    }
}

/// A method is whatever word a client sends.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    headers.get(REQUEST_ID).filter(|value| is_sane(value.as_bytes())).cloned().unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        #[expect(clippy::expect_used, reason = "hexadecimal digits and hyphens are a header value")]
        HeaderValue::from_str(text).expect("a UUID is a header value")
    })
}

/// Short, of harmless characters, and nothing that could be a secret put into the wrong header; hexadecimal digits
/// could not.
fn is_sane(id: &[u8]) -> bool {
    let word = |word: &[u8]| word.len() < SECRET_RUN || word.iter().all(u8::is_ascii_hexdigit);
    (1..=REQUEST_ID_MAX_OCTETS).contains(&id.len())
        && id.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(octet))
        && KeyKind::ALL.iter().all(|kind| !id.windows(4).any(|four| four == kind.prefix().as_bytes()))
        && id.split(|octet| !octet.is_ascii_alphanumeric()).all(word)
}

/// The trace that the caller's span belongs to, by W3C Trace Context, 3.2: `00-TRACE-SPAN-FLAGS`; a later version may have
/// more parts. A header that is not of that form counts for nothing.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all("traceparent").iter();
    let (Some(value), None) = (given.next(), given.next()) else { return None };
    let value = value.to_str().ok()?;
    let mut parts = value.split('-');
    let mut hexadecimal = |digits: usize| {
        parts.next().filter(|part| {
            part.len() == digits && part.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let (version, trace, span, _flags) =
        (hexadecimal(2)?, hexadecimal(32)?, hexadecimal(16)?, hexadecimal(2)?);
    let zero = |id: &str| id.bytes().all(|octet| octet == b'0');
    let more = parts.next().is_some();
    (version != "ff" && !zero(trace) && !zero(span) && (version != "00" || !more)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[rstest]
    #[case::as_specified(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], Some(TRACE))]
    #[case::later_version(&["01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"], Some(TRACE))]
    #[case::absent(&[], None)]
    #[case::twice(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"; 2], None)]
    #[case::too_much_for_its_version(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"], None)]
    #[case::no_version(&["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], None)]
    #[case::upper_case(&["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"], None)]
    #[case::no_trace(&["00-00000000000000000000000000000000-00f067aa0ba902b7-01"], None)]
    #[case::no_span(&["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"], None)]
    #[case::a_key(&["00-PROD0123456789abcdefghijABCDEFGH-00f067aa0ba902b7-01"], None)]
    #[case::short(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"], None)]
    fn joins_a_trace(#[case] given: &[&'static str], #[case] expected: Option<&str>) {
        let headers: HeaderMap = given
            .iter()
            .map(|value| ("traceparent".parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        assert_eq!(trace_id(&headers), expected);
    }
}
