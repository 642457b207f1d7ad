//! `/errors` and `/errors/{CODE}`: the error registry as HTML, or as JSON for a client that prefers it.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::VARY;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use maud::{Markup, html};

use super::accept::prefers_json;
use super::layout;
use crate::error::{Entry, ErrorCode};
use crate::http::state::AppState;

/// A route for each code, so that an unknown code is an unknown path.
pub(super) fn routes() -> Router<Arc<AppState>> {
    ErrorCode::ALL.iter().fold(Router::new().route("/errors", get(all)), |router, code| {
        let entry = code.entry();
        router.route(&format!("/errors/{}", entry.code), get(async move |headers| one(&headers, &entry)))
    })
}

async fn all(headers: HeaderMap) -> Response {
    let entries = ErrorCode::ALL.iter().map(|code| code.entry());
    if prefers_json(&headers) {
        return vary(Json(entries.collect::<Vec<_>>()));
    }
    let page = html! {
        main.prose {
            h1 { "Errors" }
            p {
                "Every error is JSON of one shape. Decide by " code { "error.code" } ", which never changes its meaning; codes may be \
                 added, so decide by the status for one you do not know. On 429 and 503 wait for as many seconds as the header "
                code { "Retry-After" } " says. Any call may be sent again."
            }
            @for entry in entries {
                section aria-labelledby=(entry.code) {
                    h2 id=(entry.code) { a href={ "/errors/" (entry.code) } { (entry.code) } }
                    (explain(&entry))
                }
            }
        }
    };
    vary(layout("Errors · customer-match", html! {}, page))
}

fn one(headers: &HeaderMap, entry: &Entry) -> Response {
    if prefers_json(headers) {
        return vary(Json(entry));
    }
    let page = html! {
        main.prose {
            h1 { (entry.code) }
            (explain(entry))
            p { a href="/errors" { "All errors" } }
        }
    };
    vary(layout(&format!("{} · customer-match", entry.code), html! {}, page))
}

fn explain(entry: &Entry) -> Markup {
    html! {
        dl {
            dt { "Status" }
            dd { (entry.status.as_u16()) " " (entry.status.canonical_reason().unwrap_or_default()) }
            dt { "Message" }
            dd { (entry.message) @if !entry.description.is_empty() { br; (entry.description) } }
            dt { "What it means" }
            dd { (entry.meaning) }
            dt { "What to do" }
            dd { (entry.remedy) }
        }
    }
}

fn vary(answer: impl IntoResponse) -> Response {
    ([(VARY, "Accept")], answer).into_response()
}
