//! `/docs`: the OpenAPI document as a page that makes the calls, in demo mode with the sample key filled in.
//!
//! Of the well-kept viewers none fits the policy and the document: Swagger UI shows all errors of an operation in full, its fields by
//! the alphabet, and its colours are too faint; Scalar's bundle has 4.3 MB, writes styles into the page and asks other hosts. What is
//! needed of one is `docs/*.js`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use maud::html;

use super::{JAVASCRIPT, key_field, layout};
use crate::http::state::AppState;
use crate::http::static_file::static_file;

pub(super) fn routes() -> Router<Arc<AppState>> {
    Router::new()
        .route("/docs", get(page))
        .route("/docs/page.js", static_file(JAVASCRIPT, || include_str!("docs/page.js")))
        .route("/docs/operation.js", static_file(JAVASCRIPT, || include_str!("docs/operation.js")))
        .route("/docs/prose.js", static_file(JAVASCRIPT, || include_str!("docs/prose.js")))
        .route("/docs/schema.js", static_file(JAVASCRIPT, || include_str!("docs/schema.js")))
}

async fn page(State(app): State<Arc<AppState>>) -> Response {
    let head = html! { script type="module" src="/docs/page.js" {} };
    let main = html! {
        main.wide {
            h1 { "Try the API" }
            (key_field(app.demo))
            noscript { p { "This page needs JavaScript. What it shows is in " a href="/openapi.json" { "openapi.json" } "." } }
            div id="operations" aria-busy="true" { p { "Loading the description of the API…" } }
        }
    };
    layout("Try the API · customer-match", head, main)
}
