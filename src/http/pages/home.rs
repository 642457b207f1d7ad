//! `/`: what this server is, its state, and the first call to copy.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::header::{CACHE_CONTROL, HOST};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use maud::html;

use super::layout;
use crate::client::Peer;
use crate::demo;
use crate::domain::ApiKey;
use crate::http::state::AppState;

pub(super) async fn page(
    State(app): State<Arc<AppState>>,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let (state, label) = match app.readiness.is_schema_current().await {
        Ok(_) => ("good", "reachable"),
        Err(_) => ("bad", "not reachable"),
    };
    let key = if app.demo { ApiKey::SAMPLE } else { "YOUR_API_KEY" };
    let call = demo::curl(&origin(peer.is_some_and(|peer| peer.tls), &uri, &headers), key);
    let main = html! {
        main.prose {
            h1 { "customer-match" }
            p {
                "An open, self-hosted server for the customer relation of BizKitHub's API: it links two customers, once, with a notice \
                 that both can see. " code { "{\"success\":true}" } " means that the row is committed and durable."
            }
            dl.state {
                dt { "Version" } dd { (env!("CARGO_PKG_VERSION")) }
                dt { "Database" } dd.(state) { (label) }
                dt { "Mode" } dd { @if app.demo { "demo: the sample key is good" } @else { "production: calls need a key of yours" } }
            }
            h2 { "The first call" }
            figure {
                pre id="call" tabindex="0" aria-label="The call" { code { (call) } }
                button type="button" data-copies="call" hidden { "Copy" }
                span.copied role="status" {}
            }
            p { "It answers:" }
            pre { code { "{\"success\":true}" } }
            @if !app.demo {
                p { "Replace " code { "YOUR_API_KEY" } " by your key and the reference numbers by those of your customers." }
            }
            h2 { "Further" }
            ul {
                li { a href="/docs" { "Try the API" } ": every endpoint, in the browser" }
                li { a href="/errors" { "Errors" } ": what each code means and what to do" }
                li { a href="/openapi.json" { "OpenAPI" } ": the description for client generators" }
                li { "Health: " a href="/livez" { "/livez" } " (the process), " a href="/readyz" { "/readyz" } " (its database too)" }
            }
        }
    };
    let head = html! { script src="/copy.js" defer {} };
    let page = layout("customer-match", head, main);
    ([(CACHE_CONTROL, "no-store")], page).into_response()
}

/// Scheme and host of the URL that the browser asked for; the scheme from a proxy in front if there is one.
fn origin(tls: bool, uri: &Uri, headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST.as_str()).or_else(|| uri.authority().map(|authority| authority.as_str()));
    let tls = tls || text("x-forwarded-proto") == Some("https");
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", host.filter(|host| is_plain(host)).unwrap_or("localhost:8080"))
}

/// A host name or IP with a port, of characters without a meaning in a shell: the page shows it in a command to paste.
fn is_plain(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
}
