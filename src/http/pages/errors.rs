//! `/errors` and `/errors/{CODE}`: the error registry as HTML, or as JSON for a client that prefers it.

use std::sync::Arc;

use axum::http::header::{CONTENT_TYPE, ETAG, LINK, RETRY_AFTER, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use maud::{Markup, html};

use super::layout;
use crate::error::{ApiError, Entry, ErrorCode};
use crate::http::accept::prefers_json;
use crate::http::state::AppState;

/// A route for each code, so that an unknown code is an unknown path.
pub(super) fn routes() -> Router<Arc<AppState>> {
    ErrorCode::ALL.iter().fold(Router::new().route("/errors", get(all)), |router, code| {
        let path = format!("/errors/{}", code.entry().code);
        router.route(&path, get(async move |headers| one(&headers, *code)))
    })
}

/// What errors are about, and so where to look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Key,
    Named,
    Request,
    Server,
}

impl Group {
    /// With the id and the title of its section.
    const ALL: [(Self, &str, &str); 4] = [
        (Self::Key, "key", "The API key"),
        (Self::Named, "named", "What the request names: a customer, a relation, a path"),
        (Self::Request, "request", "The form of the request"),
        (Self::Server, "server", "The server: any call may be sent again"),
    ];

    fn of(entry: &Entry) -> Self {
        match entry.status {
            _ if entry.code.starts_with("PUBLIC_API_KEY_") => Self::Key,
            StatusCode::REQUEST_TIMEOUT => Self::Server,
            status if status.is_server_error() => Self::Server,
            StatusCode::UNAUTHORIZED
            | StatusCode::NOT_FOUND
            | StatusCode::CONFLICT
            | StatusCode::PRECONDITION_FAILED => Self::Named,
            _ => Self::Request,
        }
    }

    fn codes(self) -> impl Iterator<Item = (ErrorCode, Entry)> {
        let entries = ErrorCode::ALL.iter().map(|code| (*code, code.entry()));
        entries.filter(move |(_, entry)| Self::of(entry) == self)
    }
}

async fn all(headers: HeaderMap) -> Response {
    if prefers_json(&headers) {
        let entries = ErrorCode::ALL.iter().map(|code| code.entry());
        return vary(Json(entries.collect::<Vec<_>>()));
    }
    let page = html! {
        main {
            h1 { "Errors" }
            p {
                "Every error is JSON of one shape. Decide by " code { "error.code" } ", which never changes its meaning; codes may be \
                 added, so decide by the status for one you do not know. On 429 and 503 wait for as many seconds as the header "
                code { "Retry-After" } " says. Any call may be sent again."
            }
            nav aria-label="Codes" {
                @for (group, id, title) in Group::ALL {
                    p { a href={ "#" (id) } { (title) } }
                    ul {
                        @for (_, entry) in group.codes() {
                            li { a href={ "#" (entry.code) } { (entry.code) } " " span.quiet { (entry.status.as_u16()) } }
                        }
                    }
                }
            }
            @for (group, id, title) in Group::ALL {
                section aria-labelledby=(id) {
                    h2 id=(id) { (title) }
                    @for (code, entry) in group.codes() {
                        h3 id=(entry.code) { a href={ "/errors/" (entry.code) } { (entry.code) } }
                        (explain(code))
                        details { summary { "A sample answer" } (sample_answer(code)) }
                    }
                }
            }
        }
    };
    vary(layout("Errors · customer-match", html! {}, page))
}

fn one(headers: &HeaderMap, code: ErrorCode) -> Response {
    let entry = code.entry();
    if prefers_json(headers) {
        return vary(Json(entry));
    }
    let page = html! {
        main {
            h1 { (entry.code) }
            (explain(code))
            h2 { "A sample answer" }
            (sample_answer(code))
            p { a href={ "/errors#" (entry.code) } { "All errors" } }
        }
    };
    vary(layout(&format!("{} · customer-match", entry.code), html! {}, page))
}

fn explain(code: ErrorCode) -> Markup {
    let entry = code.entry();
    html! {
        dl {
            dt { "Status" }
            dd { (status_line(entry.status)) }
            dt { "Message" }
            dd { (entry.message) @if !entry.description.is_empty() { br; (entry.description) } }
            dt { "What it means" }
            dd { (entry.meaning) }
            dt { "What to do" }
            dd { (entry.remedy) }
        }
    }
}

/// As the client gets it, without the headers that every answer has.
fn sample_answer(code: ErrorCode) -> Markup {
    let error = ApiError::sample(code);
    let body = serde_json::to_string_pretty(&error.envelope()).unwrap_or_default();
    let response = error.into_response();
    let headers = [CONTENT_TYPE, ETAG, RETRY_AFTER, LINK].into_iter().filter_map(|name| {
        let value = response.headers().get(&name)?.to_str().ok()?;
        Some(format!("{name}: {value}\n"))
    });
    let head = format!("HTTP/1.1 {}\n{}", status_line(response.status()), headers.collect::<String>());
    html! { pre { code { (head) "\n" (body) } } }
}

fn status_line(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default())
}

fn vary(answer: impl IntoResponse) -> Response {
    ([(VARY, "Accept")], answer).into_response()
}
