//! The OpenAPI document. Paths, parameters, bodies and refusals are described beside each endpoint and come here with the
//! routes themselves; what all of them share is added here.

mod refusal;
mod schema;

pub(super) use refusal::{Refusals, Refuses};
pub(super) use schema::ip_address;

use std::sync::LazyLock;

use serde_json::Value;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Header, HeaderBuilder, InfoBuilder, License, ObjectBuilder, OpenApi, Ref, RefOr, SecurityRequirement,
    Tag, Type, path::Operation,
};
use utoipa::{PartialSchema, ToSchema};

use crate::error::Envelope;

/// Endpoints for customers, the documented tag.
pub(super) const CUSTOMER: &str = "customer";
/// Endpoints about the server itself.
pub(super) const SERVER: &str = "server";

const DESCRIPTION: &str = include_str!("description.md");

/// The document, as it is served and committed.
static TEXT: LazyLock<String> = LazyLock::new(|| {
    let document = describe(super::endpoints().into_openapi());
    #[expect(clippy::expect_used, reason = "the document is made of strings, numbers and maps")]
    let text = document.to_pretty_json().expect("the document is JSON");
    text + "\n"
});

/// The OpenAPI document of every endpoint: JSON, with a line feed at its end.
pub fn document() -> &'static str {
    &TEXT
}

/// Completes the routes' descriptions by what they have in common.
fn describe(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("customer-match")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(License::new("MIT")))
        .build();
    document.tags = Some(vec![
        tag(CUSTOMER, "Customers and the relation between two of them."),
        tag(SERVER, "Whether the server, its database and your key are in order."),
    ]);
    document.security =
        Some(["apiKey", "bearer"].map(|scheme| SecurityRequirement::new(scheme, [""; 0])).into());

    let components = document.components.get_or_insert_default();
    components.add_security_scheme("apiKey", key_in_query());
    components.add_security_scheme("bearer", key_as_bearer());
    components.schemas.insert(Envelope::name().into(), Envelope::schema());
    let mut parts = Vec::new();
    Envelope::schemas(&mut parts);
    components.schemas.extend(parts);
    components.headers.extend(HEADERS.iter().map(|header| (header.name.into(), header.describe().into())));

    for (path, item) in &mut document.paths.paths {
        for (method, operation) in [("get", &mut item.get), ("post", &mut item.post)] {
            if let Some(operation) = operation {
                operation.operation_id = Some(operation_id(method, path));
                add_headers(operation);
            }
        }
    }
    document
}

fn tag(name: &str, description: &str) -> Tag {
    let mut tag = Tag::new(name);
    tag.description = Some(description.into());
    tag
}

fn key_in_query() -> SecurityScheme {
    SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description(
        "apiKey",
        "The organisation's API key, 32 characters: `^(PROD|DEV_|ROOT)[A-Za-z0-9]{28}$`. In demo mode \
         `PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE` is good.",
    )))
}

fn key_as_bearer() -> SecurityScheme {
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description =
        Some("The same key as `Authorization: Bearer`. A key in the query comes first.".into());
    SecurityScheme::Http(bearer)
}

/// The documented rule: the method and the parts of the path, each with a capital letter.
fn operation_id(method: &str, path: &str) -> String {
    let capitalised = |part: &str| {
        let mut characters = part.chars();
        characters
            .next()
            .map(|first| first.to_ascii_uppercase())
            .into_iter()
            .chain(characters)
            .collect::<String>()
    };
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(capitalised)
        .fold(method.into(), |id, part| id + &part)
}

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
        description: "When all of them are there again if none is made until then: Unix time in seconds.",
        example: Example::Number(1767225660),
    },
    CommonHeader {
        name: "Retry-After",
        on: Where::Status(&["429", "503"]),
        description: "After how many seconds the same request is worth sending again.",
        example: Example::Number(1),
    },
];

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

fn add_headers(operation: &mut Operation) {
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
