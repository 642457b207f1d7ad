//! Headers on every answer of an endpoint or a page that keep browsers from doing more with it than it is for.

use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, Entry, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;

/// What is said unless the answer says otherwise: its type is what it is called; its URL, which may hold a key, goes
/// nowhere; and nobody keeps what is about customers.
const HEADERS: [(HeaderName, &str); 3] =
    [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (REFERRER_POLICY, "no-referrer"), (CACHE_CONTROL, "no-store")];

/// What the layers further out put on as well: three headers of CORS and the id.
const OUTER: usize = 4;

/// Puts the headers on an answer.
pub(crate) fn restrict(mut response: Response) -> Response {
    // Once for all that are to come: each time the map grows all of it is moved.
    response.headers_mut().reserve(HEADERS.len() + OUTER);
    for (name, value) in HEADERS {
        if let Entry::Vacant(vacant) = response.headers_mut().entry(name) {
            vacant.insert(HeaderValue::from_static(value));
        }
    }
    response
}
