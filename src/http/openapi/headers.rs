//! The headers that answers have in common, described once and referred to.

use serde_json::Value;
use utoipa::openapi::{Header, HeaderBuilder, ObjectBuilder, Ref, RefOr, Type, path::Operation};

/// Which answers a header is on.
#[derive(Clone, Copy)]
enum Where {
    Everywhere,
    Errors,
    /// Answers to a known key that has a limit, which only operations that take a key can give.
    WithKey,
    Status(&'static [&'static str]),
}

struct CommonHeader {
    name: &'static str,
    on: Where,
    description: &'static str,
    example: Example,
}

/// It has the header's type.
enum Example {
    Text(&'static str),
    Number(u64),
}

const HEADERS: &[CommonHeader] = &[
    CommonHeader {
        name: "X-Request-Id",
        on: Where::Everywhere,
        description: "The request's id in the server's log: your own X-Request-Id if it has 1 to 64 letters, digits, `-`, `_` or \
                      `.`, else a new one.",
        example: Example::Text("019ab1f0-7c1e-7d52-8f0a-5a3f0c1b2d4e"),
    },
    CommonHeader {
        name: "Link",
        on: Where::Errors,
        description: "Where the error is explained (`rel=\"help\"`).",
        example: Example::Text("</errors/INTERNAL_VALIDATION_FAILED>; rel=\"help\""),
    },
    CommonHeader {
        name: "X-RateLimit-Limit",
        on: Where::WithKey,
        description: "How many requests the key may make within a minute. On every answer to a known key that has a limit.",
        example: Example::Number(500000),
    },
    CommonHeader {
        name: "X-RateLimit-Remaining",
        on: Where::WithKey,
        description: "How many of them are left now.",
        example: Example::Number(499999),
    },
    CommonHeader {
        name: "X-RateLimit-Reset",
        on: Where::WithKey,
        description: "When the oldest of the last minute's requests does not count any more: Unix time in seconds.",
        example: Example::Number(1767225660),
    },
    CommonHeader {
        name: "Retry-After",
        on: Where::Status(&["429", "503"]),
        description: "After how many seconds the same request is worth sending again.",
        example: Example::Number(1),
    },
];

/// All of them, for the document's components.
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

/// Says of each response which of the headers it has.
pub(crate) fn add_to(operation: &mut Operation) {
    let takes_key = operation.security.is_none();
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        for header in HEADERS {
            let on = match header.on {
                Where::Everywhere => true,
                Where::Errors => !status.starts_with('2'),
                Where::WithKey => takes_key,
                Where::Status(statuses) => statuses.contains(&status.as_str()),
            };
            if on {
                let reference = Ref::new(format!("#/components/headers/{}", header.name));
                response.headers.insert(header.name.into(), RefOr::Ref(reference));
            }
        }
    }
}
