//! Request bodies: received up to a limit of size and time, with the headers that say what they are.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::request_body;
use crate::error::{ApiError, ErrorCode, InvalidField};
use crate::http::request_context::RequestContext;

/// The longest notice fits in any escaping: 10,000 characters at 12 bytes each (`\ud83d\ude00`).
const MAX_BYTES: usize = 256 * 1024;

/// The whole body. One that declares too many bytes is rejected before anything of it is read, so a client that waits
/// for `100 Continue` sends none of it.
pub(super) async fn read(request: &Parts, body: Body, longest: Duration) -> Result<Bytes, ApiError> {
    let collected = timeout(longest, collect(body)).await;
    let result = collected.unwrap_or_else(|_| Err(ErrorCode::RequestTimeout.into()));
    if result.is_err() {
        let _ = RequestContext::of(&request.extensions).body_unread.set(());
    }
    result
}

async fn collect(body: Body) -> Result<Bytes, ApiError> {
    let declared = body.size_hint().lower();
    if usize::try_from(declared).map_or(true, |bytes| bytes > MAX_BYTES) {
        return Err(ErrorCode::PayloadTooLarge.into());
    }
    match Limited::new(body, MAX_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ErrorCode::PayloadTooLarge.into()),
        Err(_) => Err(ApiError::not_json("The body was cut off before its end.")),
    }
}

/// `application/json`, whatever its parameters.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(ErrorCode::UnsupportedMediaType.into())
    }
}

/// A body is read as it is (RFC 9110, 8.4): decompressed, few bytes could become very many.
pub(super) fn require_no_coding(headers: &HeaderMap) -> Result<(), ApiError> {
    let lists = headers.get_all(CONTENT_ENCODING).iter().map(|list| list.to_str().unwrap_or("?"));
    let mut codings = lists.flat_map(|list| list.split(',')).map(str::trim);
    let other = codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
    other.map_or(Ok(()), |coding| Err(ApiError::unsupported_coding(coding)))
}

/// The member `apiKey`. Any other value than a text is returned as it is written, and the check of the key's format
/// rejects it. A body that is not valid has no key.
///
/// # Errors
///
/// The member is there twice: the client may have meant either.
pub(super) fn api_key(bytes: &[u8]) -> Result<Option<String>, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct KeyInBody {
        api_key: Option<Value>,
    }
    let Ok(text) = request_body::object(bytes) else { return Ok(None) };
    match serde_json::from_str::<KeyInBody>(text) {
        Ok(KeyInBody { api_key }) => Ok(match api_key {
            Some(Value::String(text)) => Some(text).filter(|text| !text.is_empty()),
            other => other.map(|value| value.to_string()),
        }),
        Err(error) if error.to_string().starts_with("duplicate field `apiKey`") => {
            Err(InvalidField::in_body("apiKey", "is given twice").into())
        }
        Err(_) => Ok(None),
    }
}
