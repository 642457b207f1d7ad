//! The OpenAPI document. Paths, parameters, bodies and errors are described beside each endpoint and come here with its
//! route; what all endpoints have in common is added here.

mod error_responses;
mod headers;
mod schema;

pub(super) use error_responses::{ErrorExamples, ErrorResponses};

use utoipa::openapi::security::{self, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{InfoBuilder, License, OpenApi, SecurityRequirement, Tag};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::ApiKey;
use crate::error::Envelope;

/// The documented tag of endpoints for customers.
pub(crate) const CUSTOMER: &str = "customer";
/// The tag of endpoints about the server itself.
pub(crate) const SERVER: &str = "server";

const DESCRIPTION: &str = include_str!("description.md");

/// Completes the endpoints' descriptions by what they have in common. The text is JSON with a line feed at its end.
pub(super) fn document(mut document: OpenApi) -> String {
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
    components.headers.extend(headers::components());

    for (path, item) in &mut document.paths.paths {
        for (method, operation) in [("get", &mut item.get), ("post", &mut item.post)] {
            if let Some(operation) = operation {
                operation.operation_id = Some(operation_id(method, path));
                headers::add_to(operation);
            }
        }
    }
    #[expect(clippy::expect_used, reason = "the document is made of strings, numbers and maps")]
    let text = document.to_pretty_json().expect("the document is JSON");
    text + "\n"
}

fn tag(name: &str, description: &str) -> Tag {
    let mut tag = Tag::new(name);
    tag.description = Some(description.into());
    tag
}

fn key_in_query() -> SecurityScheme {
    let (pattern, sample) = (ApiKey::PATTERN, ApiKey::SAMPLE);
    let description =
        format!("The organisation's API key, 32 characters: `{pattern}`. In demo mode `{sample}` is good.");
    SecurityScheme::ApiKey(security::ApiKey::Query(ApiKeyValue::with_description(
        String::from("apiKey"),
        description,
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
        let first = characters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(characters).collect::<String>()
    };
    path.split('/').map(capitalised).fold(method.into(), |id, part| id + &part)
}
