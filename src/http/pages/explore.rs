//! `/explore`: the customers of an organisation and their relations, through the public API with a key that is pasted there; in demo
//! mode with the sample key. The key lives in a variable of the page's script alone.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use maud::html;

use super::{JAVASCRIPT, key_field, layout};
use crate::http::state::AppState;
use crate::http::static_file::static_file;

const MODULES: [(&str, &str); 12] = [
    ("/explore/actions.js", include_str!("explore/actions.js")),
    ("/explore/api.js", include_str!("explore/api.js")),
    ("/explore/customer.js", include_str!("explore/customer.js")),
    ("/explore/customers.js", include_str!("explore/customers.js")),
    ("/explore/neighbourhood.js", include_str!("explore/neighbourhood.js")),
    ("/explore/notices.js", include_str!("explore/notices.js")),
    ("/explore/page.js", include_str!("explore/page.js")),
    ("/explore/pager.js", include_str!("explore/pager.js")),
    ("/explore/person.js", include_str!("explore/person.js")),
    ("/explore/picture.js", include_str!("explore/picture.js")),
    ("/explore/relations.js", include_str!("explore/relations.js")),
    ("/explore/table.js", include_str!("explore/table.js")),
];

pub(super) fn routes() -> Router<Arc<AppState>> {
    MODULES.into_iter().fold(Router::new().route("/explore", get(page)), |router, (path, module)| {
        router.route(path, static_file(JAVASCRIPT, move || module))
    })
}

async fn page(State(app): State<Arc<AppState>>) -> Response {
    let head = html! { script type="module" src="/explore/page.js" {} };
    let main = html! {
        main.wide {
            noscript { p { "This page needs JavaScript, as it calls the API from your browser." } }
            (key_field(app.demo))
            p id="key-in-use" {}
            div id="view" {}
        }
    };
    layout("Explore · customer-match", head, main)
}
