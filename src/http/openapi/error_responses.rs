//! What an endpoint may refuse, said by real refusals: status, code and texts come from the registry.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, example::ExampleBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::error::{ApiError, Envelope, ErrorCode};

/// Something that may be refused: a call, a body, a query.
pub(crate) trait Refuses {
    /// One example of every code for each of its statuses. Of two examples the later one stands.
    fn examples() -> Vec<ApiError>;
}

/// What nothing is asked of.
impl Refuses for () {
    fn examples() -> Vec<ApiError> {
        Vec::new()
    }
}

/// The responses of an endpoint that is called with `T`, beside its success.
pub(crate) struct Refusals<T>(PhantomData<T>);

impl<T: Refuses> IntoResponses for Refusals<T> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        // The layers around every endpoint and its work with the database.
        let everywhere = [ErrorCode::InternalError, ErrorCode::ServiceUnavailable];
        let mut by_status = BTreeMap::<_, BTreeMap<_, _>>::new();
        for error in everywhere.map(ApiError::from).into_iter().chain(T::examples()) {
            by_status.entry(error.status()).or_default().insert(error.entry().code, error);
        }
        by_status
            .into_iter()
            .map(|(status, errors)| (status.as_str().to_owned(), response(errors).into()))
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
