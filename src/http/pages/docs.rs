//! `/docs`: Swagger UI from the binary, in demo mode with the sample key filled in.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use maud::html;

use super::{CSS, JAVASCRIPT, layout};
use crate::domain::ApiKey;
use crate::http::state::AppState;
use crate::http::static_file::static_file;

pub(super) fn routes() -> Router<Arc<AppState>> {
    Router::new()
        .route("/docs", get(page))
        .route("/docs/initialise.js", static_file(JAVASCRIPT, include_str!("initialise.js")))
        .route("/docs/swagger-ui-bundle.js", static_file(JAVASCRIPT, swagger_ui("swagger-ui-bundle.js")))
        .route("/docs/swagger-ui.css", static_file(CSS, swagger_ui("swagger-ui.css")))
}

fn swagger_ui(name: &str) -> Bytes {
    let file = utoipa_swagger_ui::serve(name, Arc::default()).ok().flatten();
    #[expect(clippy::expect_used, reason = "it is in the binary, or every test fails")]
    match file.expect("a file of Swagger UI").bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

async fn page(State(app): State<Arc<AppState>>) -> Response {
    let head = html! {
        link rel="stylesheet" href="/docs/swagger-ui.css";
        script src="/docs/swagger-ui-bundle.js" defer {}
        script src="/docs/initialise.js" defer {}
    };
    let main = html! {
        main id="swagger-ui" data-api-key=[app.demo.then_some(ApiKey::SAMPLE)] {
            noscript { "This page needs JavaScript. What it shows is in " a href="/openapi.json" { "openapi.json" } "." }
        }
    };
    layout("Try the API · customer-match", head, main)
}
