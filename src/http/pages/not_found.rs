//! The page in place of one that does not exist.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use maud::html;

use super::{content_security_policy, layout};
use crate::error::ApiError;

/// The error with a page for its body: status, links and what the access log gets of it stay.
pub(crate) fn not_found(error: ApiError) -> Response {
    let main = html! {
        main {
            h1 { "There is no such page" }
            p { "Nothing on this server has this path. These are its pages:" }
            ul {
                li { a href="/" { "The server's state and the first call" } }
                li { a href="/explore" { "Explore customers and their relations" } }
                li { a href="/docs" { "Try the API" } }
                li { a href="/errors" { "Errors" } }
            }
            p { "A program gets JSON here, unless its header " code { "Accept" } " prefers HTML." }
        }
    };
    let (mut head, _) = error.into_response().into_parts();
    let (page, body) = layout("Not found · customer-match", html! {}, main).into_parts();
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_TYPE, page.headers[CONTENT_TYPE].clone());
    content_security_policy(Response::from_parts(head, Body::new(body)))
}
