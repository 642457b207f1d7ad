//! Static files from the binary: compressed once, and served with an ETag so that a browser downloads each version once.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::accept::accepts_gzip;
use super::entity_tag::{EntityTags, entity_tag};

/// The content is asked for with the first request. `no-cache`: a browser revalidates its copy each time, as another version of the
/// server has other files.
pub(crate) fn static_file<S, C>(
    content_type: &'static str,
    content: impl FnOnce() -> C + Send + 'static,
) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    C: Into<Bytes>,
{
    let file = Arc::new(LazyLock::new(|| StaticFile::new(content().into())));
    get(async move |headers: HeaderMap| -> Response {
        let gzip = accepts_gzip(&headers);
        let Representation { content, tag } = if gzip { &file.gzipped } else { &file.plain };
        let caching = [
            (ETAG, tag.clone()),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (VARY, ACCEPT_ENCODING.into()),
        ];
        // A page is shown, whatever is wrong with this header.
        let known = EntityTags::of(&headers, &IF_NONE_MATCH).ok().flatten();
        if known.is_some_and(|known| known.match_weakly(tag)) {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        let mut response = (caching, [(CONTENT_TYPE, content_type)], content.clone()).into_response();
        if gzip {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    })
}

struct StaticFile {
    plain: Representation,
    gzipped: Representation,
}

/// Each has a tag of its own, as it has other bytes.
struct Representation {
    content: Bytes,
    tag: HeaderValue,
}

impl StaticFile {
    fn new(content: Bytes) -> Self {
        let gzipped = gzip(&content).into();
        Self { plain: Representation::new(content), gzipped: Representation::new(gzipped) }
    }
}

impl Representation {
    fn new(content: Bytes) -> Self {
        let tag = entity_tag(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&content)));
        Self { content, tag }
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    #[expect(clippy::expect_used, reason = "a Vec takes every write")]
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("memory")
}
