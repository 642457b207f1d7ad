//! The headers that several answers have, described once in the document and referred to.

use serde_json::Value;
use utoipa::openapi::{Header, HeaderBuilder, ObjectBuilder, Ref, RefOr, Type, path::Operation};

#[derive(Clone, Copy)]
enum On {
    EveryAnswer,
    Errors,
    /// Answers to a known key that has a limit, so of operations that take a key.
    RateLimited,
    Status(&'static [&'static str]),
}

struct CommonHeader {
    name: &'static str,
    on: On,
    description: &'static str,
    example: Example,
}

/// Of the header's type.
enum Example {
    Text(&'static str),
    Number(u64),
}

const HEADERS: &[CommonHeader] = &[
    CommonHeader {
        name: "X-Request-Id",
        on: On::EveryAnswer,
        description: "The request's id in the server's log: your own X-Request-Id if it has 1 to 64 letters, digits, `-`, `_` or \
                      `.`, else a new one.",
        example: Example::Text("019ab1f0-7c1e-7d52-8f0a-5a3f0c1b2d4e"),
    },
    CommonHeader {
        name: "Link",
        on: On::Errors,
        description: "The page that explains the error (`rel=\"help\"`).",
        example: Example::Text("</errors/INTERNAL_VALIDATION_FAILED>; rel=\"help\""),
    },
    CommonHeader {
        name: "X-RateLimit-Limit",
        on: On::RateLimited,
        description: "How many requests the key may make within a minute. On every answer to a known key that has a limit.",
        example: Example::Number(500000),
    },
    CommonHeader {
        name: "X-RateLimit-Remaining",
        on: On::RateLimited,
        description: "How many of them are left now.",
        example: Example::Number(499999),
    },
    CommonHeader {
        name: "X-RateLimit-Reset",
        on: On::RateLimited,
        description: "When the oldest of the last minute's requests stops counting: Unix time in seconds.",
        example: Example::Number(1767225660),
    },
    CommonHeader {
        name: "Retry-After",
        on: On::Status(&["429", "503"]),
        description: "After how many seconds to send the same request again.",
        example: Example::Number(1),
    },
];

/// For the document's components.
pub(crate) fn components() -> impl Iterator<Item = (String, RefOr<Header>)> {
    HEADERS.iter().map(|header| (header.name.into(), header.describe().into()))
}

impl CommonHeader {
    fn describe(&self) -> Header {
        let (kind, example) = match self.example {
            Example::Text(text) => (Type::String, Value::from(text)),
            Example::Number(number) => (Type::Integer, Value::from(number)),
        };
        HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(kind).examples([example])))
            .description(Some(self.description))
            .build()
    }
}

/// Adds to each response the headers that it has.
pub(crate) fn add_to(operation: &mut Operation) {
    let takes_key = operation.security.is_none();
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        for header in HEADERS {
            let on = match header.on {
                On::EveryAnswer => true,
                On::Errors => !status.starts_with('2'),
                On::RateLimited => takes_key,
                On::Status(statuses) => statuses.contains(&status.as_str()),
            };
            if on {
                let reference = Ref::new(format!("#/components/headers/{}", header.name));
                response.headers.insert(header.name.into(), RefOr::Ref(reference));
            }
        }
    }
}
