//! The OpenAPI document. Paths, parameters, bodies and errors are described beside each endpoint and come here with its
//! route; what all endpoints have in common is added here.

mod error_responses;
mod headers;
mod schema;
mod scopes;

pub(super) use error_responses::{ErrorExamples, ErrorResponses};

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{self, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{InfoBuilder, License, OpenApi, SecurityRequirement, Server, Tag};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::ApiKey;
use crate::error::Envelope;

/// The documented tag of endpoints for customers.
pub(crate) const CUSTOMER: &str = "customer";
/// The tag of endpoints about the server itself.
pub(crate) const SERVER: &str = "server";

const BEARER: &str = "bearer";
const KEY_IN_QUERY: &str = "keyInQuery";
/// Clients use the first: a key in a URL ends up in logs.
const SECURITY_SCHEMES: [&str; 2] = [BEARER, KEY_IN_QUERY];

const DESCRIPTION: &str = include_str!("description.md");

/// Completes the endpoints' descriptions by what they have in common. The text is JSON with a line feed at its end.
pub(super) fn document(mut document: OpenApi) -> String {
    document.info = InfoBuilder::new()
        .title("customer-match")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license()))
        .build();
    // Relative to the document: the server that it was got from.
    document.servers = Some(vec![Server::new("/")]);
    document.tags = Some(vec![
        tag(CUSTOMER, "Customers and the relation between two of them."),
        tag(SERVER, "Whether the server, its database and your key are in order."),
    ]);
    document.security = Some(SECURITY_SCHEMES.map(|scheme| SecurityRequirement::new(scheme, [""; 0])).into());

    let components = document.components.get_or_insert_default();
    components.add_security_scheme(BEARER, key_as_bearer());
    components.add_security_scheme(KEY_IN_QUERY, key_in_query());
    components.schemas.insert(Envelope::name().into(), Envelope::schema());
    let mut parts = Vec::new();
    Envelope::schemas(&mut parts);
    components.schemas.extend(parts);
    components.headers.extend(headers::components());

    for (path, item) in &mut document.paths.paths {
        for (method, operation) in [("get", &mut item.get), ("post", &mut item.post)] {
            if let Some(operation) = operation {
                name(operation, method, path);
                headers::add_to(operation);
                scopes::add_to(operation);
            }
        }
    }
    #[expect(clippy::expect_used, reason = "the document is made of strings, numbers and maps")]
    let text = document.to_pretty_json().expect("the document is JSON");
    text + "\n"
}

/// By its identifier of SPDX, which openapi-generator demands.
fn license() -> License {
    let mut license = License::new("MIT");
    license.identifier = Some("MIT".into());
    license
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

/// Gives an operation its documented id, and as `x-operation-name` its handler's name: `matchCustomers` reads better than
/// `postApiV1CustomerCustomerMatchCustomer`. A handler of two paths needs two names.
fn name(operation: &mut Operation, method: &str, path: &str) {
    let handler = operation.operation_id.replace(operation_id(method, path)).unwrap_or_default();
    let mut words = handler.split('_');
    let first = words.next().unwrap_or_default();
    let api = if path == "/api/v1/ping/v1" { "Api" } else { "" };
    let name = words.map(capitalised).fold(first.to_owned(), |name, word| name + &word) + api;
    operation.extensions = Some([("x-operation-name", name)].into_iter().collect());
}

/// The documented rule: the method and the parts of the path, each with a capital letter.
fn operation_id(method: &str, path: &str) -> String {
    path.split('/').map(capitalised).fold(method.into(), |id, part| id + &part)
}

fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}
