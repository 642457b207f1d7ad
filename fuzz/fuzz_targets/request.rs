//! Octets as they come over a connection: a head of HTTP/1.1, and all that follows it is the body.
#![no_main]

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::Request;
use customer_match_fuzz::Server;
use libfuzzer_sys::{Corpus, fuzz_target};

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

fuzz_target!(init: LazyLock::force(&SERVER), |octets: &[u8]| -> Corpus {
    match parse(octets) {
        Some(request) => {
            SERVER.call(request);
            Corpus::Keep
        }
        None => Corpus::Reject,
    }
});

/// `None` for what the connection refuses by itself.
fn parse(octets: &[u8]) -> Option<Request<Body>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(octets).ok()? else { return None };
    let mut request = Request::builder().method(head.method?).uri(head.path?);
    for header in head.headers.iter() {
        request = request.header(header.name, header.value);
    }
    request.body(Body::from(octets[length..].to_vec())).ok()
}
