//! The error registry (contract §4), and the one shape in which errors reach a client.
//!
//! [`ErrorCode`] is the table: code, status, message and description are documented word by word; meaning and remedy
//! are for people and may be improved. An [`ApiError`] is one occurrence. A database error becomes one by [`From`]: 503
//! if a retry may succeed, else a 500 that says nothing of the cause, which is logged here, once.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use axum::Json;
use axum::http::header;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::db;
use crate::demo;
use crate::domain::{CuRefNo, Relation};
use crate::group_commit::WriteError;

/// `Retry-After` of a 503. The same for every cause, as the server does not know how long one lasts.
const RETRY_LATER: Duration = Duration::from_secs(1);

/// A row of the registry.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Entry {
    /// Never changes its meaning.
    pub code: &'static str,
    /// An occurrence may have another one.
    #[serde(serialize_with = "serialize_status")]
    pub status: StatusCode,
    /// The same for every occurrence.
    pub message: &'static str,
    /// Of occurrences without a description of their own.
    pub description: &'static str,
    /// What has happened, for the developer who looks the code up.
    pub meaning: &'static str,
    /// What that developer can do about it.
    pub remedy: &'static str,
}

fn serialize_status<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

/// The table's rows become the variants of [`ErrorCode`], [`ErrorCode::ALL`] and [`ErrorCode::entry`].
macro_rules! registry {
    ($($name:ident $code:literal $status:ident { $($field:ident: $text:literal)* })*) => {
        /// One documented error. The variants stand in the order of the contract's table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ErrorCode { $($name),* }

        impl ErrorCode {
            /// The whole registry.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its row of the registry.
            pub const fn entry(self) -> Entry {
                match self {
                    $(Self::$name => Entry { code: $code, status: StatusCode::$status, $($field: $text),* }),*
                }
            }
        }
    };
}

registry! {
    ApiKeyIsEmpty "PUBLIC_API_KEY_IS_EMPTY" NOT_FOUND {
        message: "Organisation API key is empty. Please add your API key to request query."
        description: ""
        meaning: "The request has no API key, or an empty one."
        remedy: "Add ?apiKey=… to the URL, or the header Authorization: Bearer …, or the member apiKey to the JSON body."
    }
    ApiKeyIsNotInValidFormat "PUBLIC_API_KEY_IS_NOT_IN_VALID_FORMAT" NOT_FOUND {
        message: "Organisation API key does not match expected format."
        description: "Please use 32 char length key generated from system."
        meaning: "What was sent as the key cannot be one: a key is PROD, DEV_ or ROOT followed by 28 letters or digits."
        remedy: "Copy the whole key again, without spaces or quotes. Of several keys the one in the query counts, then the Bearer header, then the body."
    }
    ApiKeySampleValue "PUBLIC_API_KEY_SAMPLE_VALUE" NOT_FOUND {
        message: "Sample API key cannot be used."
        description: "The key printed in the documentation is an example. Please use a key of your organisation."
        meaning: "The key is the one that is printed in the documentation. Only a server in demo mode accepts it."
        remedy: "Use a key of your own organisation; the operator of the server creates one with customer-match key create."
    }
    ApiKeyDoesNotExist "PUBLIC_API_KEY_DOES_NOT_EXIST" NOT_FOUND {
        message: "Organisation API key does not exist or is broken."
        description: "Parameter \"apiKey\" is always required."
        meaning: "The key has the right format, but this server has never issued it."
        remedy: "Check that the key belongs to this server and not to another installation, and that no character was lost."
    }
    ApiKeyHasBeenDeleted "PUBLIC_API_KEY_HAS_BEEN_DELETED" NOT_FOUND {
        message: "Organisation API key has been deleted."
        description: ""
        meaning: "The key was revoked. That is permanent."
        remedy: "Ask for a new key and replace the old one everywhere it is configured."
    }
    ApiKeyIsNotActive "PUBLIC_API_KEY_IS_NOT_ACTIVE" NOT_FOUND {
        message: "Organisation API key is not active now."
        description: ""
        meaning: "The key exists but is switched off."
        remedy: "Ask the operator of the server to switch it on again, or for another key."
    }
    ApiKeyHasBeenExpired "PUBLIC_API_KEY_HAS_BEEN_EXPIRED" NOT_FOUND {
        message: "Organisation API key has been expired."
        description: ""
        meaning: "The key was good until its last day, which has passed. Keys expire after 90 days unless they were made otherwise."
        remedy: "Ask for a new key; issue it before the old one ends and let both work side by side while you replace it."
    }
    ApiKeyTooManyRequest "PUBLIC_API_KEY_TOO_MANY_REQUEST" TOO_MANY_REQUESTS {
        message: "Too many requests"
        description: "The limit of this API key is used up. Please retry later."
        meaning: "More requests came within a minute than the key is allowed, or more with invalid keys or unknown identity ids than a client IP address is. Nothing was done."
        remedy: "Wait for as many seconds as the header Retry-After says, then send the same request again. X-RateLimit-Remaining shows in advance how many requests are left."
    }
    ApiKeyScopeNotAllowed "PUBLIC_API_KEY_SCOPE_NOT_ALLOWED" FORBIDDEN {
        message: "API key does not have the required scope for this endpoint."
        description: ""
        meaning: "The key is good, but it is restricted to scopes, and the one that this call needs is not among them. The description names it. A publishable key opens only the match."
        remedy: "Use a key that has the scope, or one without scopes, which may do everything. Of a call by identityId the scope is customer.session, of one by cuRefNo customer.read."
    }
    ApiKeyOriginNotAllowed "PUBLIC_API_KEY_ORIGIN_NOT_ALLOWED" FORBIDDEN {
        message: "API key cannot be used from this origin."
        description: "This API key is for web pages of certain origins."
        meaning: "The key is publishable: it works only in calls of browsers from pages of its allowed origins. The header Origin is missing or names another one."
        remedy: "Call from a page of an allowed origin (scheme, host and port count; a page that was opened as a file has none), or ask the operator of the server for a key with this origin. A program needs a key that is not publishable."
    }
    CustomerDetailNotPermitted "PUBLIC_CUSTOMER_DETAIL_NOT_PERMITTED" NOT_FOUND {
        message: "You have no permission to load this customer detail."
        description: "Wrong cuRefNo or your profile is not manager of this customer."
        meaning: "The customer who is logged in may see its own detail and those of the customers it manages. The customer that was asked for is none of them, or does not exist."
        remedy: "Check cuRefNo. To see another customer's detail, match the two first, with the one who is logged in as the manager."
    }
    ChangesStartAgain "PUBLIC_CHANGES_START_AGAIN" CONFLICT {
        message: "The changes must be read from the start."
        description: "Please start again without a cursor."
        meaning: "The cursor is of another database than the server has now: the database was restored from a backup, a standby has taken its place, or it has moved. What was shown after that backup may be lost, and changes have other places now."
        remedy: "Call without a cursor. That reads all relations, each in its last state, and goes on with what changes. A relation that you have and that is not among them does not exist any more."
    }
    CustomerEmailTaken "PUBLIC_CUSTOMER_EMAIL_TAKEN" CONFLICT {
        message: "Another customer has this e-mail address."
        description: ""
        meaning: "A customer was to get an e-mail address that another customer of the organisation has. Nothing was changed. To a key with the scope customer.read error.cuRefNo names the other customer."
        remedy: "Use another e-mail address, or change that of the other customer first. If the two are one person, the operator of the server joins them with customer-match customer merge."
    }
    UserMustBeAuthorized "INTERNAL_USER_MUST_BE_AUTHORIZED" UNAUTHORIZED {
        message: "User must be authorized"
        description: "User is not logged in."
        meaning: "The identityId is missing, was never issued to a customer of this organisation, has expired (after three months) or was logged out."
        remedy: "Log the customer in with magic-auth and use the identityId of the answer."
    }
    ValidationFailed "INTERNAL_VALIDATION_FAILED" UNPROCESSABLE_ENTITY {
        message: "Request payload failed validation."
        description: ""
        meaning: "A field or parameter breaks a rule. The description names both; error.field is a JSON pointer into the body, or the parameter's name. The status is 400 when the request cannot be read: its body is not JSON at all, its query not UTF-8, or its header Host missing, doubled or invalid."
        remedy: "Correct the field and send the request again. An unchanged request will be rejected again."
    }
    ResourceNotFound "INTERNAL_RESOURCE_NOT_FOUND" NOT_FOUND {
        message: "Resource not found."
        description: ""
        meaning: "The description names what is not there: a customer, a relation, a path. What belongs to another organisation or was deleted looks the same."
        remedy: "Check the reference number (it is case-sensitive), the URL of the endpoint, and that the key belongs to the organisation whose customer this is."
    }
    PreconditionFailed "INTERNAL_PRECONDITION_FAILED" PRECONDITION_FAILED {
        message: "Precondition failed."
        description: "The relation does not meet the condition of If-Match or If-None-Match. The answer shows it as it is now."
        meaning: "The call was to take effect only on a certain version of the relation (If-Match), or only if there is none (If-None-Match: *). It has another version now, or there is one. Nothing was written."
        remedy: "Look at relation in the answer, apply your change to it, and send the call again with the ETag of the answer as If-Match. If the answer to an earlier try was lost, relation shows whether that took effect."
    }
    MethodNotAllowed "INTERNAL_METHOD_NOT_ALLOWED" METHOD_NOT_ALLOWED {
        message: "Method not allowed."
        description: "The header Allow names the methods of this path."
        meaning: "The path exists, but not for this HTTP method."
        remedy: "Use a method that the header Allow names. A redirect from http to https can turn a POST into a GET: call the final URL."
    }
    PayloadTooLarge "INTERNAL_PAYLOAD_TOO_LARGE" PAYLOAD_TOO_LARGE {
        message: "Request payload is too large."
        description: "A request body has at most 256 KiB."
        meaning: "The body, or a line of a stream, is longer than any valid one can be."
        remedy: "Send one relation per request, with a notice of at most 10,000 characters. Many at once are for customer-match-customer-batch, as a stream of lines that may be as long as you like."
    }
    UnsupportedMediaType "INTERNAL_UNSUPPORTED_MEDIA_TYPE" UNSUPPORTED_MEDIA_TYPE {
        message: "Unsupported media type."
        description: "Please send a JSON body with the header Content-Type: application/json."
        meaning: "The request does not declare its body as JSON, or declares it as compressed."
        remedy: "Send the header Content-Type: application/json, without which curl -d declares a form, and no Content-Encoding."
    }
    RequestTimeout "INTERNAL_REQUEST_TIMEOUT" REQUEST_TIMEOUT {
        message: "Request timed out."
        description: "The request was not complete in time. It is safe to send it again."
        meaning: "The whole body of the request did not arrive within the time that the server allows."
        remedy: "Send it again: a match that was made already is not made twice. If it happens often, look at the network between client and server."
    }
    ServiceUnavailable "INTERNAL_SERVICE_UNAVAILABLE" SERVICE_UNAVAILABLE {
        message: "Service unavailable."
        description: "The service cannot answer now. It is safe to send the request again."
        meaning: "The server is at the limit of its capacity, is about to stop, or cannot reach its database. A write may have taken effect before the error."
        remedy: "Wait for as many seconds as the header Retry-After says, then send the same request again; wait longer each time."
    }
    InternalError "INTERNAL_ERROR" INTERNAL_SERVER_ERROR {
        message: "Internal server error."
        description: "The error has been recorded under the id in the header X-Request-Id."
        meaning: "A defect of the server. Its log has the cause; the answer says nothing of it."
        remedy: "Tell the operator of the server the X-Request-Id of the answer. Sending the request again does no harm."
    }
}

/// An error on its way to the client, in the documented shape `{"error":{"code","message","description"}}`.
#[derive(Debug, Clone)]
pub struct ApiError {
    code: ErrorCode,
    status: StatusCode,
    description: Cow<'static, str>,
    /// Of a validation error; the first of them is repeated in the error itself.
    invalid_fields: Vec<InvalidField>,
    retry_after: Option<Duration>,
    /// The customer that is in the way.
    cu_ref_no: Option<CuRefNo>,
    /// Of a condition that does not hold; null if there is none.
    relation: Option<Option<Box<Relation>>>,
}

impl ApiError {
    /// The input breaks a rule, see [`InvalidField`].
    pub(crate) fn invalid(field: impl Into<String>, description: impl Into<Cow<'static, str>>) -> Self {
        InvalidField { field: field.into(), description: description.into() }.into()
    }

    /// A required member of the body is absent or null.
    pub(crate) fn missing_field(name: &str) -> Self {
        InvalidField::missing(name).into()
    }

    /// The body is not JSON at all.
    pub(crate) fn not_json(description: impl Into<Cow<'static, str>>) -> Self {
        Self::bad_request(description)
    }

    /// The body has more bytes than this.
    pub(crate) fn too_large(most: usize) -> Self {
        Self::from(ErrorCode::PayloadTooLarge)
            .described(format!("A request body has at most {} KiB.", most / 1024))
    }

    /// A line of a body has more bytes than this; the others may be good.
    pub(crate) fn line_too_large(most: usize) -> Self {
        Self::from(ErrorCode::PayloadTooLarge).described(format!("A line has at most {} KiB.", most / 1024))
    }

    /// The body is neither of the two that the endpoint takes.
    pub(crate) fn neither_lines_nor_array() -> Self {
        Self::from(ErrorCode::UnsupportedMediaType).described(
            "Please send a JSON object on each line with the header Content-Type: application/x-ndjson, or a JSON array of them with Content-Type: application/json.",
        )
    }

    /// The request cannot be read, which is 400 and not 422.
    pub(crate) fn bad_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            ..Self::from(ErrorCode::ValidationFailed).described(description)
        }
    }

    /// The body has a Content-Encoding. A value that could be a secret in the wrong header is not repeated.
    pub(crate) fn unsupported_coding(coding: &str) -> Self {
        let named = if coding.len() <= 16 { format!(" \"{coding}\"") } else { String::new() };
        Self::from(ErrorCode::UnsupportedMediaType).described(format!(
            "The Content-Encoding{named} is not supported: please send the body without one."
        ))
    }

    /// What the request names does not exist, or belongs to another organisation; the error is the same.
    pub(crate) fn not_found(description: impl Into<Cow<'static, str>>) -> Self {
        Self::from(ErrorCode::ResourceNotFound).described(description)
    }

    pub(crate) fn customer_not_found(cu_ref_no: impl Display) -> Self {
        Self::not_found(format!("Customer {cu_ref_no}"))
    }

    /// Another customer has the e-mail address; who it is, if the client may know.
    pub(crate) fn email_taken(owner: Option<CuRefNo>) -> Self {
        let error = Self::from(ErrorCode::CustomerEmailTaken);
        let description = owner.as_ref().map(|owner| format!("It is customer {owner}."));
        Self { cu_ref_no: owner, ..error.described(description.unwrap_or_default()) }
    }

    /// The condition of a call does not hold for the relation as it is.
    pub(crate) fn precondition_failed(relation: Option<Box<Relation>>) -> Self {
        Self { relation: Some(relation), ..ErrorCode::PreconditionFailed.into() }
    }

    /// The description names the scope that is missing.
    pub(crate) fn scope_not_allowed(description: impl Into<Cow<'static, str>>) -> Self {
        Self::from(ErrorCode::ApiKeyScopeNotAllowed).described(description)
    }

    /// The key's limit is used up; the next call is admitted after this time.
    pub fn too_many_requests(retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..ErrorCode::ApiKeyTooManyRequest.into() }
    }

    /// One client has used up its part of a publishable key; its next call is admitted after this time.
    pub(crate) fn too_many_requests_of_client(retry_after: Duration) -> Self {
        let description = "The limit of this API key for one IP address is used up. Please retry later.";
        Self::too_many_requests(retry_after).described(description)
    }

    /// The client has tried too many keys that do not exist; it may try the next after this time.
    pub(crate) fn too_many_invalid_keys(retry_after: Duration) -> Self {
        let description =
            "Too many calls with invalid API keys came from your IP address. Please retry later.";
        Self::too_many_requests(retry_after).described(description)
    }

    /// The client has tried too many identity ids that do not exist; it may try the next after this time.
    pub(crate) fn too_many_unknown_identities(retry_after: Duration) -> Self {
        let description =
            "Too many calls with unknown identity ids came from your IP address. Please retry later.";
        Self::too_many_requests(retry_after).described(description)
    }

    /// An occurrence for the page that explains the code.
    pub(crate) fn sample(code: ErrorCode) -> Self {
        match code {
            ErrorCode::ValidationFailed => Self::missing_field("managerCuRefNo"),
            ErrorCode::ResourceNotFound => Self::customer_not_found(demo::CUSTOMER),
            ErrorCode::ApiKeyScopeNotAllowed => {
                Self::scope_not_allowed("The key lacks the scope customer.match.")
            }
            ErrorCode::ApiKeyTooManyRequest => Self::too_many_requests(Duration::from_secs(12)),
            ErrorCode::CustomerEmailTaken => Self::email_taken(CuRefNo::parse(demo::MANAGER).ok()),
            ErrorCode::PreconditionFailed => {
                Self::precondition_failed(Some(demo::documented_relation().into()))
            }
            other => other.into(),
        }
    }

    pub(crate) fn unavailable(description: &'static str) -> Self {
        Self::from(ErrorCode::ServiceUnavailable).described(description)
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    /// After how many seconds the same may succeed: the header `Retry-After`.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(whole_seconds)
    }

    pub(crate) fn entry(&self) -> Entry {
        self.code.entry()
    }

    pub(crate) fn envelope(&self) -> Envelope<'_> {
        let Entry { code, message, .. } = self.entry();
        let field = self.invalid_fields.first().map(|first| first.field.as_str());
        Envelope {
            error: Detail {
                code,
                message,
                description: &self.description,
                field,
                errors: &self.invalid_fields,
                cu_ref_no: self.cu_ref_no.as_ref().map(CuRefNo::as_str),
            },
            relation: self.relation.as_ref().map(Option::as_deref),
        }
    }

    /// The header `Link`, to the page that explains the code.
    fn help(&self) -> HeaderValue {
        #[expect(clippy::expect_used, reason = "codes are letters and underscores")]
        HeaderValue::try_from(format!("</errors/{}>; rel=\"help\"", self.entry().code))
            .expect("a header value")
    }

    fn described(self, description: impl Into<Cow<'static, str>>) -> Self {
        Self { description: description.into(), ..self }
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        let Entry { status, description, .. } = code.entry();
        let retry_after = (code == ErrorCode::ServiceUnavailable).then_some(RETRY_LATER);
        Self {
            code,
            status,
            description: description.into(),
            invalid_fields: Vec::new(),
            retry_after,
            cu_ref_no: None,
            relation: None,
        }
    }
}

/// All that is invalid, in an error that repeats the first.
impl From<Vec<InvalidField>> for ApiError {
    fn from(invalid_fields: Vec<InvalidField>) -> Self {
        let description = invalid_fields.first().map(|first| first.description.clone()).unwrap_or_default();
        Self { invalid_fields, ..Self::from(ErrorCode::ValidationFailed).described(description) }
    }
}

impl From<InvalidField> for ApiError {
    fn from(field: InvalidField) -> Self {
        vec![field].into()
    }
}

impl From<&sqlx::Error> for ApiError {
    fn from(error: &sqlx::Error) -> Self {
        if db::is_unavailable(error) {
            tracing::warn!(%error, "the database is unavailable");
            ErrorCode::ServiceUnavailable.into()
        } else {
            tracing::error!(%error, "the database rejected a statement");
            ErrorCode::InternalError.into()
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match &error {
            WriteError::CustomerNotFound(cu_ref_no) => Self::customer_not_found(cu_ref_no),
            WriteError::EmailNotFound(email) => {
                Self::not_found(format!("Customer with the e-mail address {email}"))
            }
            WriteError::EmailTaken(_) => Self::email_taken(None),
            WriteError::PreconditionFailed(relation) => Self::precondition_failed(relation.clone()),
            WriteError::RelationNotFound => Self::not_found("Relation"),
            WriteError::SameCustomer => {
                Self::invalid("/customerCuRefNo", "A customer cannot be matched with itself.")
            }
            WriteError::Overloaded | WriteError::TimedOut => ErrorCode::ServiceUnavailable.into(),
            WriteError::Rejected(_) => {
                tracing::error!(%error, "the database rejected a write");
                ErrorCode::InternalError.into()
            }
            WriteError::Database(error) => Self::from(&**error),
        }
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        Self::from(&error)
    }
}

/// A field or parameter that breaks a rule.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct InvalidField {
    /// A JSON pointer into the body (RFC 6901), or a parameter's name.
    #[schema(examples("/customerEmail"))]
    field: String,
    /// Names the field and the rule.
    #[schema(value_type = String)]
    description: Cow<'static, str>,
}

impl InvalidField {
    /// A member of the body; the rule follows its name.
    pub(crate) fn in_body(name: &str, rule: impl Display) -> Self {
        Self { field: pointer(name), description: format!("Field \"{name}\" {rule}.").into() }
    }

    /// A required member of the body is absent or null.
    pub(crate) fn missing(name: &str) -> Self {
        Self::in_body(name, "is required")
    }

    /// Of two members of the body one is required, and both are absent or null.
    pub(crate) fn missing_one_of(names: [&str; 2]) -> Self {
        let [first, second] = names;
        let description = format!("One of the fields \"{first}\" and \"{second}\" is required.");
        Self { field: pointer(first), description: description.into() }
    }

    /// A parameter; the rule follows its name.
    pub(crate) fn in_query(name: &str, rule: impl Display) -> Self {
        Self { field: name.into(), description: format!("Parameter \"{name}\" {rule}.").into() }
    }

    pub(crate) fn is_member(&self, name: &str) -> bool {
        self.field == pointer(name)
    }

    pub(crate) fn is_parameter(&self, name: &str) -> bool {
        self.field == name
    }
}

fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The documented shape of every error.
#[derive(Serialize, ToSchema)]
#[schema(as = ErrorEnvelope)]
pub(crate) struct Envelope<'a> {
    error: Detail<'a>,
    /// If a condition does not hold, the relation as it is now; null if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Option<Relation>)]
    relation: Option<Option<&'a Relation>>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ErrorDetail)]
struct Detail<'a> {
    /// What clients decide by: codes never change their meaning. New ones may be added; for those decide by the status.
    #[schema(examples("INTERNAL_VALIDATION_FAILED"))]
    code: &'a str,
    /// The same for every occurrence of the code.
    message: &'a str,
    /// What is known of this occurrence; may be empty.
    description: &'a str,
    /// On a validation error what broke the rule: a JSON pointer into the body (RFC 6901), or a parameter's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("/customerEmail"))]
    field: Option<&'a str>,
    /// On a validation error every field and parameter that breaks a rule; the first is the one that `field` and
    /// `description` are about.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false, value_type = Vec<InvalidField>)]
    errors: &'a [InvalidField],
    /// The customer that is in the way, where that is the error and the key has the scope `customer.read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<CuRefNo>)]
    cu_ref_no: Option<&'a str>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response =
            (self.status, [(header::LINK, self.help())], Json(self.envelope())).into_response();
        if let Some(seconds) = self.retry_after_seconds() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(Some(relation)) = &self.relation
            && let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", relation.version))
        {
            response.headers_mut().insert(header::ETAG, tag);
        }
        if self.code == ErrorCode::UnsupportedMediaType {
            // RFC 9110, 12.5.3: what a body may have.
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        // For the access log.
        response.extensions_mut().insert(self.code);
        response
    }
}

/// Rounded up, so that a client which waits as long is not early.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
