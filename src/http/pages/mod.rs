//! Pages for developers: `/`, `/docs`, `/errors`, and the OpenAPI document. All but `/docs` work without JavaScript.
//! Everything comes from the binary and nothing from other hosts, under a content security policy that enforces it.

mod accept;
mod docs;
mod errors;
mod home;

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

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// Nothing from other hosts, nothing inline, no framing. `data:` images are Swagger UI's.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes(openapi_document: &'static str) -> Router<Arc<AppState>> {
    Router::new()
        .route("/", get(home::page))
        .route("/page.css", static_file(CSS, include_str!("page.css")))
        .route("/copy.js", static_file(JAVASCRIPT, include_str!("copy.js")))
        .route("/openapi.json", static_file("application/json", openapi_document))
        .merge(docs::routes())
        .merge(errors::routes())
        .layer(MapResponseLayer::new(content_security_policy))
}

fn content_security_policy(mut response: Response) -> Response {
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
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
                link rel="icon" href="data:,";
                (head)
                link rel="stylesheet" href="/page.css";
            }
            body {
                header {
                    nav aria-label="Pages" {
                        a href="/" { "customer-match" }
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
