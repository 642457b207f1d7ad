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
    let (state, label) = match app.readiness.state().await {
        Ok(_) => ("good", "reachable"),
        Err(_) => ("bad", "not reachable"),
    };
    let key = if app.demo { ApiKey::SAMPLE } else { "YOUR_API_KEY" };
    let origin = origin(peer.is_some_and(|peer| peer.tls), &uri, &headers);
    let calls = [
        ("curl", "curl", demo::curl(&origin, key)),
        ("fetch", "fetch", demo::fetch(&origin, key)),
        ("python", "Python", demo::python(&origin, key)),
    ];
    let main = html! {
        main {
            h1 { "customer-match" }
            p {
                "An open, self-hosted server for the customer relation of BizKitHub's API: it links two customers, once, with a notice \
                 that both can see. " code { "{\"success\":true}" } " means that the row is committed and durable."
            }
            dl {
                dt { "Version" } dd { (env!("CARGO_PKG_VERSION")) }
                dt { "Database" } dd class=(state) { (label) }
                dt { "Mode" } dd { @if app.demo { "demo: the sample key is good" } @else { "production: calls need a key of yours" } }
            }
            h2 { "The first call" }
            fieldset.tabs {
                legend { "It matches two customers:" }
                @for (index, (id, name, _)) in calls.iter().enumerate() {
                    input type="radio" name="language" id=(id) checked[index == 0];
                    " " label for=(id) { (name) }
                }
                @for (_, name, call) in &calls {
                    figure { pre aria-label={ "The call with " (name) } { code { (call) } } }
                }
            }
            p { "It answers:" }
            pre { code { "{\"success\":true}" } }
            @if !app.demo {
                p { "Replace " code { "YOUR_API_KEY" } " by your key and the reference numbers by those of your customers." }
            }
            h2 { "What next" }
            ul {
                @if app.demo {
                    li {
                        "See that relation " a href={ "/explore#" (demo::MANAGER) } { "from one side" } " and "
                        a href={ "/explore#" (demo::CUSTOMER) } { "from the other" } ", or look around among the "
                        a href={ "/explore#" (demo::TRAINER) } { "sample customers" }
                    }
                } @else {
                    li { a href="/explore" { "Look around" } ": your customers and their relations, with your key" }
                }
                li { a href="/docs" { "Try the API" } ": every endpoint, in the browser" }
                li { a href="/errors" { "Look an error up" } ": what each code means, what it looks like and what to do" }
                li { a href="/openapi.json" { "Generate a client" } " from the OpenAPI document" }
                @if app.demo {
                    li { "Make a key of your own: " code { "customer-match organisation create" } ", then " code { "customer-match key create" } }
                }
                li { "Watch it: " a href="/livez" { "/livez" } " (the process), " a href="/readyz" { "/readyz" } " (its database too)" }
            }
        }
    };
    let head = html! { script type="module" src="/home.js" {} };
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
