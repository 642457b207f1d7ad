//! The headers that several answers have, described once in the document and referred to.

use serde_json::{Value, json};
use utoipa::openapi::{Header, HeaderBuilder, ObjectBuilder, Ref, RefOr, Type, path::Operation};

struct CommonHeader {
    name: &'static str,
    description: &'static str,
    /// A text or a number, which is the header's type.
    example: Value,
    /// By the status of an answer, and whether its operation takes a key.
    is_on: fn(&str, bool) -> bool,
}

fn common_headers() -> [CommonHeader; 8] {
    let header = |name, description, example, is_on| CommonHeader { name, description, example, is_on };
    let id = "The request's id in the server's log: your own X-Request-Id if it has 1 to 64 letters, digits, `-`, `_` or `.`, \
              else a new one.";
    let help = "The page that explains the error (`rel=\"help\"`).";
    let limit = "How many requests the key may make within a minute. On every answer to a known key that has a limit.";
    let remaining = "How many of them are left now.";
    let reset = "When the oldest of the last minute's requests stops counting: Unix time in seconds.";
    let sunset = "When the key expires (RFC 8594). From 14 days before.";
    let retry = "After how many seconds to send the same request again.";
    let version = "The version of the relation, between quotation marks. Absent if there is none.";
    let help_link = json!("</errors/INTERNAL_VALIDATION_FAILED>; rel=\"help\"");
    [
        header("X-Request-Id", id, json!("019ab1f0-7c1e-7d52-8f0a-5a3f0c1b2d4e"), |_, _| true),
        header("Link", help, help_link, |status, _| status.starts_with(['4', '5'])),
        header("X-RateLimit-Limit", limit, json!(500000), |_, takes_key| takes_key),
        header("X-RateLimit-Remaining", remaining, json!(499999), |_, takes_key| takes_key),
        header("X-RateLimit-Reset", reset, json!(1767225660), |_, takes_key| takes_key),
        header("Sunset", sunset, json!("Thu, 31 Dec 2026 23:59:59 GMT"), |_, takes_key| takes_key),
        header("ETag", version, json!("\"3\""), |status, _| status == "412"),
        header("Retry-After", retry, json!(1), |status, _| matches!(status, "429" | "503")),
    ]
}

/// For the document's components.
pub(super) fn components() -> impl Iterator<Item = (String, RefOr<Header>)> {
    common_headers().into_iter().map(|CommonHeader { name, description, example, .. }| {
        let kind = if example.is_string() { Type::String } else { Type::Integer };
        let schema = ObjectBuilder::new().schema_type(kind).examples([example]);
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build();
        (name.into(), header.into())
    })
}

/// Adds to each response the headers that it has.
pub(super) fn add_to(operation: &mut Operation) {
    let takes_key = operation.security.is_none();
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        for CommonHeader { name, is_on, .. } in common_headers() {
            if is_on(status, takes_key) {
                let reference = Ref::new(format!("#/components/headers/{name}"));
                response.headers.insert(name.into(), RefOr::Ref(reference));
            }
        }
    }
}
