//! Static files from the binary, served with an ETag so that a browser downloads each version once.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use sha2::{Digest, Sha256};

use super::entity_tag::{EntityTags, entity_tag};

/// `no-cache`: a browser revalidates its copy each time, as another version of the server has other files.
pub(crate) fn static_file<S: Clone + Send + Sync + 'static>(
    content_type: &'static str,
    content: impl Into<Bytes>,
) -> MethodRouter<S> {
    let content = content.into();
    let tag = Arc::new(OnceLock::new());
    get(async move |headers: HeaderMap| -> Response {
        let tag = tag.get_or_init(|| entity_tag(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&content))));
        let caching = [(ETAG, tag.clone()), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        // A page is shown, whatever is wrong with this header.
        let known = EntityTags::of(&headers, &IF_NONE_MATCH).ok().flatten();
        if known.is_some_and(|known| known.match_weakly(tag)) {
            (StatusCode::NOT_MODIFIED, caching).into_response()
        } else {
            (caching, [(CONTENT_TYPE, content_type)], content).into_response()
        }
    })
}
