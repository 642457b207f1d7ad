//! A call whose body is any number of lines, which the endpoint takes while they arrive, or one array.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;
use std::vec;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::api_query::QueryParameters;
use super::authentication::{AuthenticatedCaller, OngoingKey, key_outside_body};
use super::body_lines::{BodyLines, Line};
use super::json_body;
use super::prefer::Prefer;
use super::request_body;
use crate::client::client_network;
use crate::error::{ApiError, ErrorCode};
use crate::http::client_ip::client_ip;
use crate::http::openapi::ErrorExamples;
use crate::http::request_context::RequestContext;
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

/// The media type of lines.
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// An array is received whole.
const MAX_ARRAY_BYTES: usize = 1024 * 1024;
const MAX_ELEMENTS: usize = 1000;

/// A `B` is on each line.
pub(crate) struct ApiLines<B> {
    pub(crate) caller: AuthenticatedCaller,
    pub(crate) key: OngoingKey,
    pub(crate) lines: Lines,
    /// What its answers count by.
    pub(crate) client: Option<IpAddr>,
    _line: PhantomData<B>,
}

/// Of each line, what the body of a single call would be.
pub(crate) enum Lines {
    Arriving(BodyLines),
    /// The elements of an array.
    Received(vec::IntoIter<Bytes>),
}

impl<B: RequiresScope> FromRequest<Arc<AppState>> for ApiLines<B> {
    type Rejection = ApiError;

    /// Everything about the call as a whole is checked before anything of the body is read. A key in the body does not exist
    /// here.
    async fn from_request(request: Request, app: &Arc<AppState>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let key = key_outside_body(&parts);
        let checked = async {
            let caller = AuthenticatedCaller::before_body(app, &parts, key.as_deref(), B::SCOPES).await?;
            let is_array = is_array(&parts.headers)?;
            json_body::require_no_coding(&parts.headers)?;
            if Prefer::of(&parts.headers).strict {
                let unknown = QueryParameters::of(&parts.uri)?.unknown();
                if !unknown.is_empty() {
                    return Err(unknown.into());
                }
            }
            let key = OngoingKey::of(app, &parts, key.as_deref()).await?;
            Ok((caller, key, is_array))
        };
        let (caller, key, is_array) = match checked.await {
            Ok(checked) => checked,
            Err(error) => {
                json_body::discard(&parts, body).await;
                return Err(error);
            }
        };
        let lines = if is_array {
            let bytes = json_body::read(app, &parts, body, MAX_ARRAY_BYTES).await?;
            Lines::Received(elements(&bytes)?.into_iter())
        } else {
            Lines::Arriving(begin(app, &parts, body).await?)
        };
        caller.admit(app)?;
        let client = client_ip(&parts, &app.trusted_proxies).map(client_network);
        Ok(Self { caller, key, lines, client, _line: PhantomData })
    }
}

fn is_array(headers: &HeaderMap) -> Result<bool, ApiError> {
    if json_body::is_declared(headers, NDJSON) {
        Ok(false)
    } else if json_body::is_declared(headers, "application/json") {
        Ok(true)
    } else {
        Err(ApiError::neither_lines_nor_array())
    }
}

/// Waits for the first bytes: a client that waits for `100 Continue` sends them after the server has asked for them, and it must do so
/// before the answer begins.
async fn begin(app: &AppState, parts: &Parts, body: Body) -> Result<BodyLines, ApiError> {
    let mut lines = BodyLines::new(body, json_body::take_share(app, parts)?);
    let received = timeout(app.timeouts.body, lines.receive()).await;
    if let Err(error) = received.unwrap_or_else(|_| Err(ErrorCode::RequestTimeout.into())) {
        let _ = RequestContext::of(&parts.extensions).body_unread.set(());
        return Err(error);
    }
    Ok(lines)
}

fn elements(bytes: &Bytes) -> Result<Vec<Bytes>, ApiError> {
    let text = request_body::text(bytes)?;
    if !text.trim_ascii_start().starts_with('[') {
        request_body::well_formed(text)?;
        return Err(ApiError::invalid("", "The body must be a JSON array."));
    }
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(request_body::not_json)?;
    if elements.len() > MAX_ELEMENTS {
        return Err(ApiError::invalid("", "The array must have at most 1,000 elements."));
    }
    Ok(elements.into_iter().map(|element| bytes.slice_ref(element.get().as_bytes())).collect())
}

impl Lines {
    /// As many as the body of a single call may have.
    pub(crate) const MAX_LINE_BYTES: usize = json_body::MAX_BYTES;

    /// The next line, if it has arrived to its end.
    pub(crate) fn next_received(&mut self) -> Option<Line> {
        match self {
            Self::Arriving(lines) => lines.next_received(),
            Self::Received(elements) => elements.next().map(Line::of),
        }
    }

    /// Waits for more lines; false at the end. Call it when no line is left; it may be cancelled.
    pub(crate) async fn receive(&mut self) -> Result<bool, ApiError> {
        match self {
            Self::Arriving(lines) => lines.receive().await,
            Self::Received(_) => Ok(false),
        }
    }

    /// Receives and drops the rest, so that the client, which may still be sending, can read the end of the answer.
    pub(crate) async fn discard(self) {
        if let Self::Arriving(lines) = self {
            lines.discard().await;
        }
    }
}

impl<B: ErrorExamples + RequiresScope> ErrorExamples for ApiLines<B> {
    fn error_examples() -> Vec<ApiError> {
        let body = [
            ErrorCode::RequestTimeout.into(),
            ApiError::too_large(MAX_ARRAY_BYTES),
            ApiError::neither_lines_nor_array(),
            request_body::not_json("EOF while parsing a value at line 1 column 0"),
            ApiError::invalid("", "The body must be a JSON array."),
        ];
        let key = AuthenticatedCaller::error_examples(B::SCOPES);
        key.into_iter().chain(body).chain(B::error_examples()).collect()
    }

    fn required_scopes() -> &'static [RequiredScope] {
        B::SCOPES
    }
}
