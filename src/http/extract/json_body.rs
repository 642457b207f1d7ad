//! Request bodies: received up to a limit of size and time, with the headers that say what they are.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::request_body;
use crate::client::client_network;
use crate::error::{ApiError, ErrorCode, InvalidField};
use crate::fair_budget::Share;
use crate::http::client_ip::client_ip;
use crate::http::request_context::RequestContext;
use crate::http::state::AppState;

/// The longest notice fits in any escaping: 10,000 characters at 12 bytes each (`\ud83d\ude00`).
pub(super) const MAX_BYTES: usize = 256 * 1024;
/// What a request takes in the budget beside its body, for its headers and its state.
pub(super) const OVERHEAD: u64 = 32 * 1024;
/// How long the rest of a body that is not needed may take to arrive, so that its connection can be used again. Most bodies
/// arrive with their headers.
const DISCARD_TIMEOUT: Duration = Duration::from_millis(100);

/// The whole body, of at most so many bytes. One that declares too many bytes is rejected before anything of it is read, so a client that waits
/// for `100 Continue` sends none of it.
pub(super) async fn read(
    app: &AppState,
    request: &Parts,
    body: Body,
    most: usize,
) -> Result<Bytes, ApiError> {
    let collected = timeout(app.timeouts.body, collect(app, request, body, most)).await;
    let result = collected.unwrap_or_else(|_| Err(ErrorCode::RequestTimeout.into()));
    if result.is_err() {
        let _ = RequestContext::of(&request.extensions).body_unread.set(());
    }
    result
}

/// What has arrived is copied, because a piece of a few bytes may keep a buffer of hyper.
async fn collect(app: &AppState, request: &Parts, mut body: Body, most: usize) -> Result<Bytes, ApiError> {
    let declared = body.size_hint().lower();
    if usize::try_from(declared).map_or(true, |bytes| bytes > most) {
        return Err(ApiError::too_large(most));
    }
    let mut share = take_share(app, request)?;
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::not_json("The body was cut off before its end."))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Err(ApiError::too_large(most));
        }
        if !share.grow(data.len() as u64) {
            return Err(ErrorCode::ServiceUnavailable.into());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

/// Of the budget of bodies that are being received: what each request takes.
pub(super) fn take_share(app: &AppState, request: &Parts) -> Result<Share<Option<IpAddr>>, ApiError> {
    let client = client_ip(request, &app.trusted_proxies).map(client_network);
    Ok(app.body_budget.try_take(client, OVERHEAD).ok_or(ErrorCode::ServiceUnavailable)?)
}

/// Receives a body that is not needed, if that is soon done.
pub(super) async fn discard(request: &Parts, mut body: Body) {
    let receive = async {
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame.ok()?.data_ref().map_or(0, Bytes::len);
            if received > MAX_BYTES {
                return None;
            }
        }
        Some(())
    };
    // The client waits to be told before it sends the body.
    let is_expected = request.headers.contains_key(EXPECT);
    if is_expected || !matches!(timeout(DISCARD_TIMEOUT, receive).await, Ok(Some(()))) {
        let _ = RequestContext::of(&request.extensions).body_unread.set(());
    }
}

/// `application/json`, whatever its parameters.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    if is_declared(headers, "application/json") {
        Ok(())
    } else {
        Err(ErrorCode::UnsupportedMediaType.into())
    }
}

/// Whether the body is declared to be of this media type, whatever its parameters.
pub(super) fn is_declared(headers: &HeaderMap, media_type: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(media_type)
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
