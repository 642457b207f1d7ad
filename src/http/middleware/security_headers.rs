//! Headers that keep browsers from doing more with an answer than it is for.

use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, Entry, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;

/// Browsers do not sniff another content type; the URL, which may hold a key, is sent to no other site; and no cache
/// keeps data of customers.
const HEADERS: [(HeaderName, &str); 3] =
    [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (REFERRER_POLICY, "no-referrer"), (CACHE_CONTROL, "no-store")];

/// Headers that the layers around this one add: the request id.
const OUTER_HEADERS: usize = 1;

/// Adds the headers unless the answer has its own.
pub(crate) fn security_headers(mut response: Response) -> Response {
    // One growth of the map for all of them: each moves the whole map.
    response.headers_mut().reserve(HEADERS.len() + OUTER_HEADERS);
    for (name, value) in HEADERS {
        if let Entry::Vacant(vacant) = response.headers_mut().entry(name) {
            vacant.insert(HeaderValue::from_static(value));
        }
    }
    response
}
