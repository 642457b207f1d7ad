//! Static files from the binary, served with an ETag so that a browser downloads each version once.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use sha2::{Digest, Sha256};

/// `no-cache`: a browser revalidates its copy each time, as another version of the server has other files.
pub(crate) fn static_file<S: Clone + Send + Sync + 'static>(
    content_type: &'static str,
    content: impl Into<Bytes>,
) -> MethodRouter<S> {
    let content = content.into();
    let tag = Arc::new(OnceLock::new());
    get(async move |headers: HeaderMap| -> Response {
        let tag = tag.get_or_init(|| etag(&content));
        let caching = [(ETAG, tag.clone()), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        if matches_if_none_match(&headers, tag) {
            (StatusCode::NOT_MODIFIED, caching).into_response()
        } else {
            (caching, [(CONTENT_TYPE, content_type)], content).into_response()
        }
    })
}

fn etag(content: &[u8]) -> HeaderValue {
    let tag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(content)));
    #[expect(clippy::expect_used, reason = "base64 between quotation marks is a header value")]
    HeaderValue::try_from(tag).expect("a header value")
}

/// RFC 9110, 13.1.2.
fn matches_if_none_match(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
