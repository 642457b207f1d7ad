//! The error registry (contract §4) and the one shape that every refusal has.
//!
//! [`ErrorCode`] is the table: code, status, message and description, word by word as documented. An [`ApiError`] is one
//! row of it on its way to a client. A database error becomes one by [`From`]: what a retry may mend is 503, the rest is
//! a 500 that says nothing, and its cause is logged here, once.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// How long a client is asked to wait when the server is short of something.
const RETRY_LATER: Duration = Duration::from_secs(1);

/// One documented error. The variants stand in the order of the contract's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table in `entry` says what each one means")]
pub enum ErrorCode {
    ApiKeyIsEmpty,
    ApiKeyIsNotInValidFormat,
    ApiKeySampleValue,
    ApiKeyDoesNotExist,
    ApiKeyHasBeenDeleted,
    ApiKeyIsNotActive,
    ApiKeyHasBeenExpired,
    ApiKeyTooManyRequest,
    ApiKeyScopeNotAllowed,
    CustomerDetailNotPermitted,
    UserMustBeAuthorized,
    ValidationFailed,
    ResourceNotFound,
    MethodNotAllowed,
    PayloadTooLarge,
    UnsupportedMediaType,
    RequestTimeout,
    ServiceUnavailable,
    InternalError,
}

/// A row of the registry.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Never changes its meaning.
    pub code: &'static str,
    /// The usual status.
    pub status: StatusCode,
    /// The same for every occurrence.
    pub message: &'static str,
    /// Said when an occurrence has nothing better to say.
    pub description: &'static str,
}

impl ErrorCode {
    /// The registry.
    pub const fn entry(self) -> Entry {
        const fn entry(
            code: &'static str,
            status: StatusCode,
            message: &'static str,
            description: &'static str,
        ) -> Entry {
            Entry { code, status, message, description }
        }
        // One row, one error: the table is read more easily than a builder for each.
        #[rustfmt::skip]
        let entry = match self {
            Self::ApiKeyIsEmpty => entry("PUBLIC_API_KEY_IS_EMPTY", StatusCode::NOT_FOUND,
                "Organisation API key is empty. Please add your API key to request query.", ""),
            Self::ApiKeyIsNotInValidFormat => entry("PUBLIC_API_KEY_IS_NOT_IN_VALID_FORMAT", StatusCode::NOT_FOUND,
                "Organisation API key does not match expected format.",
                "Please use 32 char length key generated from system."),
            Self::ApiKeySampleValue => entry("PUBLIC_API_KEY_SAMPLE_VALUE", StatusCode::NOT_FOUND,
                "Sample API key cannot be used.",
                "The key printed in the documentation is an example. Please use a key of your organisation."),
            Self::ApiKeyDoesNotExist => entry("PUBLIC_API_KEY_DOES_NOT_EXIST", StatusCode::NOT_FOUND,
                "Organisation API key does not exist or is broken.", "Parameter \"apiKey\" is always required."),
            Self::ApiKeyHasBeenDeleted => entry("PUBLIC_API_KEY_HAS_BEEN_DELETED", StatusCode::NOT_FOUND,
                "Organisation API key has been deleted.", ""),
            Self::ApiKeyIsNotActive => entry("PUBLIC_API_KEY_IS_NOT_ACTIVE", StatusCode::NOT_FOUND,
                "Organisation API key is not active now.", ""),
            Self::ApiKeyHasBeenExpired => entry("PUBLIC_API_KEY_HAS_BEEN_EXPIRED", StatusCode::NOT_FOUND,
                "Organisation API key has been expired.", ""),
            Self::ApiKeyTooManyRequest => entry("PUBLIC_API_KEY_TOO_MANY_REQUEST", StatusCode::TOO_MANY_REQUESTS,
                "Too many requests", "The limit of this API key is used up. Please retry later."),
            Self::ApiKeyScopeNotAllowed => entry("PUBLIC_API_KEY_SCOPE_NOT_ALLOWED", StatusCode::FORBIDDEN,
                "API key does not have the required scope for this endpoint.", ""),
            Self::CustomerDetailNotPermitted => entry("PUBLIC_CUSTOMER_DETAIL_NOT_PERMITTED", StatusCode::NOT_FOUND,
                "You have no permission to load this customer detail.",
                "Wrong cuRefNo or your profile is not manager of this customer."),
            Self::UserMustBeAuthorized => entry("INTERNAL_USER_MUST_BE_AUTHORIZED", StatusCode::UNAUTHORIZED,
                "User must be authorized", "User is not logged in."),
            Self::ValidationFailed => entry("INTERNAL_VALIDATION_FAILED", StatusCode::UNPROCESSABLE_ENTITY,
                "Request payload failed validation.", ""),
            Self::ResourceNotFound => entry("INTERNAL_RESOURCE_NOT_FOUND", StatusCode::NOT_FOUND,
                "Resource not found.", ""),
            Self::MethodNotAllowed => entry("INTERNAL_METHOD_NOT_ALLOWED", StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed.", "The header Allow names the methods of this path."),
            Self::PayloadTooLarge => entry("INTERNAL_PAYLOAD_TOO_LARGE", StatusCode::PAYLOAD_TOO_LARGE,
                "Request payload is too large.", "A request body has at most 256 KiB."),
            Self::UnsupportedMediaType => entry("INTERNAL_UNSUPPORTED_MEDIA_TYPE", StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported media type.", "Please send a JSON body with the header Content-Type: application/json."),
            Self::RequestTimeout => entry("INTERNAL_REQUEST_TIMEOUT", StatusCode::REQUEST_TIMEOUT,
                "Request timed out.", "The request was not complete in time. It is safe to send it again."),
            Self::ServiceUnavailable => entry("INTERNAL_SERVICE_UNAVAILABLE", StatusCode::SERVICE_UNAVAILABLE,
                "Service unavailable.", "The service cannot answer now. It is safe to send the request again."),
            Self::InternalError => entry("INTERNAL_ERROR", StatusCode::INTERNAL_SERVER_ERROR,
                "Internal server error.", "The error has been recorded under the id in the header X-Request-Id."),
        };
        entry
    }
}

/// A refusal on its way to the client, in the documented shape `{"error":{"code","message","description"}}`.
#[derive(Debug, Clone)]
pub struct ApiError {
    code: ErrorCode,
    status: StatusCode,
    description: Cow<'static, str>,
    field: Option<String>,
    retry_after: Option<Duration>,
}

impl ApiError {
    /// The input breaks a rule: `field` is a JSON pointer into the body (RFC 6901) or a query parameter's name, and the
    /// description names both field and rule.
    pub fn invalid(field: impl Into<String>, description: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field.into()), ..Self::from(ErrorCode::ValidationFailed).described(description) }
    }

    /// A required member of the body is absent or null.
    pub fn missing_field(name: &str) -> Self {
        Self::invalid(format!("/{name}"), format!("Field \"{name}\" is required."))
    }

    /// The body is not JSON at all, which is 400 and not 422.
    pub fn not_json(description: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            ..Self::from(ErrorCode::ValidationFailed).described(description)
        }
    }

    /// What the request names is not there, or not for this key to see; both look the same.
    pub fn not_found(description: impl Into<Cow<'static, str>>) -> Self {
        Self::from(ErrorCode::ResourceNotFound).described(description)
    }

    /// The key's calls of the last minute are as many as it may have; one more is let in after this time.
    pub fn too_many_requests(retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..ErrorCode::ApiKeyTooManyRequest.into() }
    }

    /// As above, for a client that has tried too many keys that do not exist.
    pub fn too_many_guesses(retry_after: Duration) -> Self {
        let description = "Too many calls with unknown API keys came from your address. Please retry later.";
        Self::too_many_requests(retry_after).described(description)
    }

    fn described(self, description: impl Into<Cow<'static, str>>) -> Self {
        Self { description: description.into(), ..self }
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        let Entry { status, description, .. } = code.entry();
        let retry_after = (code == ErrorCode::ServiceUnavailable).then_some(RETRY_LATER);
        Self { code, status, description: description.into(), field: None, retry_after }
    }
}

impl From<&sqlx::Error> for ApiError {
    fn from(error: &sqlx::Error) -> Self {
        if crate::db::is_transient(error) {
            tracing::warn!(%error, "the database is unavailable");
            ErrorCode::ServiceUnavailable.into()
        } else {
            tracing::error!(%error, "the database refused a statement");
            ErrorCode::InternalError.into()
        }
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        Self::from(&error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Envelope<'a> {
            error: Body<'a>,
        }
        #[derive(Serialize)]
        struct Body<'a> {
            code: &'a str,
            message: &'a str,
            description: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<&'a str>,
        }
        let Entry { code, message, .. } = self.code.entry();
        let error = Body { code, message, description: &self.description, field: self.field.as_deref() };
        let mut response = (self.status, Json(Envelope { error })).into_response();
        if let Some(time) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, whole_seconds(time).into());
        }
        // For the request's log event.
        response.extensions_mut().insert(self.code);
        response
    }
}

/// A time to wait, as headers have it: rounded up, so that nobody comes too early.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
