//! Request bodies: received up to a limit of size and time, parsed as JSON, every error explained.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::de::{DeserializeOwned, Error, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};
use tokio::time::timeout;

use crate::error::{ApiError, ErrorCode};
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
    match parse::<KeyInBody>(bytes) {
        Ok(KeyInBody { api_key }) => Ok(match api_key {
            Some(Value::String(text)) => Some(text).filter(|text| !text.is_empty()),
            other => other.map(|value| value.to_string()),
        }),
        Err(error) if error.field() == Some("/apiKey") => Err(error),
        Err(_) => Ok(None),
    }
}

pub(super) fn parse<B: DeserializeOwned>(bytes: &[u8]) -> Result<B, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ApiError::not_json("The body is not UTF-8."))?;
    // Some editors and Windows' libraries write one; RFC 8259, 8.1 lets it be ignored.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // serde reads a struct from an array too.
    if text.trim_ascii_start().starts_with('{') {
        serde_json::from_str(text).map_err(|_| explain::<B>(text))
    } else {
        well_formed(text)?;
        Err(ApiError::invalid("", "The body must be a JSON object."))
    }
}

/// For optional fields that web forms fill in: a blank text counts as absent.
pub(crate) fn blank_is_absent<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    let text = text.trim();
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
}

fn well_formed(text: &str) -> Result<(), ApiError> {
    serde_json::from_str::<IgnoredAny>(text).map(|_| ()).map_err(not_json)
}

pub(super) fn not_json(error: impl Display) -> ApiError {
    ApiError::not_json(format!("The body is not valid JSON: {error}."))
}

/// Says which field breaks which rule. The text is parsed a second time with the path tracked, which costs time, so
/// only after an error.
fn explain<B: DeserializeOwned>(text: &str) -> ApiError {
    if let Err(error) = well_formed(text) {
        return error;
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let Err(error) = serde_path_to_error::deserialize::<_, B>(&mut deserializer) else {
        return ErrorCode::InternalError.into();
    };
    let message = error.inner().to_string();
    let rule = message.rsplit_once(" at line ").map_or(message.as_str(), |(rule, _)| rule);
    let Some(Segment::Map { key }) = error.path().iter().next_back() else {
        let duplicate = rule.strip_prefix("duplicate field `").and_then(|rest| rest.strip_suffix('`'));
        return match duplicate {
            Some(key) => ApiError::invalid(format!("/{key}"), format!("Field \"{key}\" is given twice.")),
            None => ApiError::invalid("", format!("The body is not valid: {rule}.")),
        };
    };
    let description = if rule.starts_with("must") {
        format!("Field \"{key}\" {rule}.")
    } else if rule.starts_with("invalid type") {
        format!("Field \"{key}\" must be a string.")
    } else {
        format!("Field \"{key}\" is not valid: {rule}.")
    };
    ApiError::invalid(pointer(error.path()), description)
}

/// RFC 6901.
fn pointer(path: &Path) -> String {
    path.iter()
        .map(|segment| format!("/{}", segment.to_string().replace('~', "~0").replace('/', "~1")))
        .collect()
}
