//! The error responses of an endpoint, described by real errors: status, code and texts come from the registry.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, example::ExampleBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::scopes;
use crate::error::{ApiError, Envelope, ErrorCode};
use crate::http::required_scope::RequiredScope;

/// Input that may be rejected: a caller, a body, a query.
pub(crate) trait ErrorExamples {
    /// One example of every code for each of its statuses. A later example replaces an earlier one of the same code and
    /// status.
    fn error_examples() -> Vec<ApiError>;

    /// The scopes that the endpoint needs.
    fn required_scopes() -> &'static [RequiredScope] {
        &[]
    }
}

/// For an endpoint without input.
impl ErrorExamples for () {
    fn error_examples() -> Vec<ApiError> {
        Vec::new()
    }
}

/// The error responses of an endpoint whose input is `T`.
pub(crate) struct ErrorResponses<T>(PhantomData<T>);

impl<T: ErrorExamples> IntoResponses for ErrorResponses<T> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        // Of the middleware around every endpoint, and of its work with the database.
        let everywhere = [
            ApiError::bad_request("The header Host is missing."),
            ErrorCode::InternalError.into(),
            ErrorCode::ServiceUnavailable.into(),
        ];
        let mut by_status = BTreeMap::<_, BTreeMap<_, _>>::new();
        for error in everywhere.into_iter().chain(T::error_examples()) {
            by_status.entry(error.status()).or_default().insert(error.entry().code, error);
        }
        by_status
            .into_iter()
            .map(|(status, errors)| {
                let mut response = response(errors);
                scopes::note(status.as_str(), &mut response, T::required_scopes());
                (status.as_str().to_owned(), response.into())
            })
            .collect()
    }
}

fn response(errors: BTreeMap<&str, ApiError>) -> Response {
    let codes = errors.keys().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ");
    let examples = errors.into_iter().map(|(code, error)| {
        let value = serde_json::to_value(error.envelope()).ok();
        (code, ExampleBuilder::new().description(error.entry().meaning).value(value).build())
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(Envelope::name())))
        .examples_from_iter(examples)
        .build();
    ResponseBuilder::new().description(codes).content("application/json", content).build()
}
