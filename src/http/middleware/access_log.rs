//! One id, one span and one log event for each request, answered or not.
//!
//! Of the URI only the route's template is logged, as the query may hold the key. Nothing else that a client wrote is
//! logged as it is either: methods and ids are logged only in forms that no secret has.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONNECTION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::Frame;
use tracing::{Instrument, error_span, info};
use uuid::Uuid;

use crate::domain::KeyKind;
use crate::error::ErrorCode;
use crate::http::client_ip::client_ip;
use crate::http::headers::REQUEST_ID;
use crate::http::request_context::RequestContext;
use crate::http::state::AppState;
use crate::metrics::{FinishedRequest, Metrics};

const REQUEST_ID_MAX_BYTES: usize = 64;
/// Identity ids have as many letters and digits in a row.
const SECRET_RUN: usize = 32;

/// The outermost layer: makes the request's context, logs and counts the request, and adds `X-Request-Id`. An answer
/// whose request was not read to its end gets `Connection: close`, as the rest of the body cannot be told from a next
/// request.
pub(crate) async fn access_log(State(app): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let guard = AccessLogGuard::new(&mut parts, &app);
    let version = parts.version;
    let request = Request::from_parts(parts, body);
    // The span has the highest level, so that a warning names its request when nothing less is logged. It has two
    // fields only, as formatting fields costs time on each request.
    let span = error_span!("request", id = guard.id(), trace_id = guard.trace_id);
    let id = guard.id.clone();
    let mut response = next.run(request).instrument(span).await;
    if guard.context.body_unread.get().is_some() && version != Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.headers_mut().insert(REQUEST_ID, id);
    if guard.context.stream.get().is_some() {
        return response.map(|body| Body::new(LoggedBody { body, guard: Some(guard) }));
    }
    guard.complete(&response);
    response
}

/// The answer of a stream, whose request ends with it.
struct LoggedBody {
    body: Body,
    guard: Option<AccessLogGuard>,
}

impl hyper::body::Body for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none()
            && let Some(guard) = self.guard.take()
        {
            guard.complete_stream();
        }
        Poll::Ready(frame)
    }
}

/// Writes the event when the request ends: with its answer, or by being dropped, as its future is when the client
/// disconnects.
struct AccessLogGuard {
    metrics: Arc<Metrics>,
    started: Instant,
    id: HeaderValue,
    trace_id: Option<String>,
    method: &'static str,
    route: Option<MatchedPath>,
    client_ip: Option<IpAddr>,
    context: Arc<RequestContext>,
    completed: bool,
}

impl AccessLogGuard {
    fn new(parts: &mut Parts, app: &AppState) -> Self {
        app.metrics.request_started();
        let context = Arc::<RequestContext>::default();
        parts.extensions.insert(Arc::clone(&context));
        let client_ip =
            if app.access_log.client_ip() { client_ip(parts, &app.trusted_proxies) } else { None };
        Self {
            metrics: Arc::clone(&app.metrics),
            started: Instant::now(),
            id: request_id(&parts.headers),
            trace_id: trace_id(&parts.headers).map(str::to_owned),
            method: method(&parts.method),
            route: parts.extensions.get().cloned(),
            client_ip,
            context,
            completed: false,
        }
    }

    fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    fn complete(mut self, response: &Response) {
        self.completed = true;
        self.record("request completed", Some(response.status()), response.extensions().get().copied());
    }

    fn complete_stream(mut self) {
        self.completed = true;
        let error = self.context.stream.get().and_then(|stream| stream.error());
        self.record("request completed", Some(StatusCode::OK), error);
    }

    fn record(&self, message: &str, status: Option<StatusCode>, error: Option<ErrorCode>) {
        let route = self.route.as_ref().map_or("(none)", MatchedPath::as_str);
        let duration = self.started.elapsed();
        let key = self.context.api_key.get();
        self.metrics.request_finished(&FinishedRequest {
            route,
            method: self.method,
            status,
            error,
            organisation_id: key.map(|key| key.organisation_id),
            duration,
        });
        let stream = self.context.stream.get();
        info!(
            parent: None,
            id = self.id(),
            trace_id = self.trace_id,
            method = self.method,
            route,
            status = status.map(|status| status.as_u16()),
            // To the microsecond.
            duration_ms = (duration.as_secs_f64() * 1e6).round() / 1e3,
            client_ip = self.client_ip.map(display),
            organisation = key.map(|key| key.organisation_id),
            key = key.map(|key| key.mask.as_str()),
            lines = stream.map(|stream| stream.lines()),
            rejected = stream.map(|stream| stream.rejected()),
            error = error.map(|code| code.entry().code),
            "{message}"
        );
    }
}

impl Drop for AccessLogGuard {
    fn drop(&mut self) {
        if !self.completed {
            self.record("client disconnected", None, None);
        }
    }
}

/// A method is any word that a client sends, so only the known ones are named.
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

/// The client's own if it is harmless, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|value| is_harmless(value.as_bytes()));
    given.cloned().unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        #[expect(clippy::expect_used, reason = "hexadecimal digits and hyphens are a header value")]
        HeaderValue::from_str(text).expect("a UUID is a header value")
    })
}

/// Short, of characters without a meaning elsewhere, and no secret that was put into the wrong header: no prefix of a
/// key, no run of letters and digits as long as an identity id. Hexadecimal digits, as of trace ids, may be longer.
fn is_harmless(id: &[u8]) -> bool {
    let is_short = |word: &[u8]| word.len() < SECRET_RUN || word.iter().all(u8::is_ascii_hexdigit);
    (1..=REQUEST_ID_MAX_BYTES).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && KeyKind::ALL.iter().all(|kind| !id.windows(4).any(|four| four == kind.prefix().as_bytes()))
        && id.split(|byte| !byte.is_ascii_alphanumeric()).all(is_short)
}

/// The trace that the client's span belongs to (W3C Trace Context, 3.2): `00-TRACE-SPAN-FLAGS`; a later version may
/// have more parts. A header of any other form is ignored.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all("traceparent").iter();
    let (Some(value), None) = (given.next(), given.next()) else { return None };
    let value = value.to_str().ok()?;
    let mut parts = value.split('-');
    let mut hexadecimal = |digits: usize| {
        parts.next().filter(|part| {
            part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let (version, trace, span, _flags) =
        (hexadecimal(2)?, hexadecimal(32)?, hexadecimal(16)?, hexadecimal(2)?);
    let zero = |id: &str| id.bytes().all(|byte| byte == b'0');
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
