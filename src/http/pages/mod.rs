//! Pages for developers: `/`, `/docs`, `/errors`, and the OpenAPI document. All but `/docs` work without JavaScript, which
//! are modules of this directory without a build step.
//! Everything comes from the binary and nothing from other hosts, under a content security policy that enforces it.

mod docs;
mod errors;
mod explore;
mod home;
mod not_found;

pub(super) use not_found::not_found;

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};
use tower::util::MapResponseLayer;

use super::state::AppState;
use super::static_file::static_file;
use crate::domain::ApiKey;

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Nothing from other hosts, nothing inline, no framing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes(openapi_document: fn() -> &'static str) -> Router<Arc<AppState>> {
    Router::new()
        .route("/", get(home::page))
        .route("/page.css", static_file(CSS, || include_str!("page.css")))
        .route("/element.js", static_file(JAVASCRIPT, || include_str!("element.js")))
        .route("/call.js", static_file(JAVASCRIPT, || include_str!("call.js")))
        .route("/copy.js", static_file(JAVASCRIPT, || include_str!("copy.js")))
        .route("/home.js", static_file(JAVASCRIPT, || include_str!("home.js")))
        .route("/favicon.svg", static_file(SVG, || include_str!("favicon.svg")))
        // Where browsers look from what is no page, such as the OpenAPI document.
        .route("/favicon.ico", static_file(SVG, || include_str!("favicon.svg")))
        .route("/openapi.json", static_file("application/json", openapi_document))
        .merge(docs::routes())
        .merge(errors::routes())
        .merge(explore::routes())
        .layer(MapResponseLayer::new(content_security_policy))
}

fn content_security_policy(mut response: Response) -> Response {
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// The field for the API key, which the scripts of a page read; in demo mode with the sample key.
fn key_field(demo: bool) -> Markup {
    html! {
        form.key id="key-form" {
            label for="key" { "API key" }
            input id="key" type="password" value=[demo.then_some(ApiKey::SAMPLE)] autocomplete="off" spellcheck="false";
            p.quiet { "It stays in this tab: it is sent as the header " code { "Authorization" } ", and stored nowhere." }
        }
    }
}

/// The document around the element `main` of every page. `head` is added to its head.
fn layout(title: &str, head: Markup, main: Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" type="image/svg+xml" href="/favicon.svg";
                (head)
                link rel="stylesheet" href="/page.css";
            }
            body {
                header {
                    nav aria-label="Pages" {
                        a href="/" { "customer-match" }
                        a href="/explore" { "Explore" }
                        a href="/docs" { "Try the API" }
                        a href="/errors" { "Errors" }
                        a href="/openapi.json" { "OpenAPI" }
                    }
                }
                (main)
            }
        }
    };
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], page.into_string()).into_response()
}
