//! A call with parameters in the query string: parsed by their types, every error explained.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::authentication::{AuthenticatedCaller, key_outside_body};
use super::prefer::Prefer;
use super::request_body::MAX_INVALID_FIELDS;
use crate::domain::IdentityId;
use crate::error::{ApiError, ErrorCode, InvalidField};
use crate::http::openapi::ErrorExamples;
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

pub(crate) struct ApiQuery<Q> {
    pub(crate) caller: AuthenticatedCaller,
    pub(crate) query: Q,
}

/// The parameters of an endpoint.
pub(crate) trait ParseQuery: RequiresScope + Sized {
    /// Unknown parameters are ignored, as unknown fields of a body are. `None` if a parameter is invalid, which is recorded
    /// in the parameters.
    ///
    /// # Errors
    ///
    /// One that comes before those of the parameters.
    fn parse(parameters: &mut QueryParameters<'_>) -> Result<Option<Self>, ApiError>;
}

impl<Q: ParseQuery> FromRequestParts<Arc<AppState>> for ApiQuery<Q> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        let required = Q::scopes_of_call(|name| given(&parts.uri).any(|(other, _)| other == name));
        let key = key_outside_body(parts);
        let caller = AuthenticatedCaller::new(app, parts, key.as_deref(), required).await?;
        let mut parameters = QueryParameters::of(&parts.uri)?;
        let query = Q::parse(&mut parameters)?;
        if Prefer::of(&parts.headers).strict {
            let unknown = parameters.unknown();
            parameters.invalid.extend(unknown);
        }
        match query {
            Some(query) if parameters.invalid.is_empty() => Ok(Self { caller, query }),
            _ => Err(parameters.invalid.into()),
        }
    }
}

impl<Q: ErrorExamples + RequiresScope> ErrorExamples for ApiQuery<Q> {
    fn error_examples() -> Vec<ApiError> {
        AuthenticatedCaller::error_examples(Q::SCOPES).into_iter().chain(Q::error_examples()).collect()
    }

    fn required_scopes() -> &'static [RequiredScope] {
        Q::SCOPES
    }
}

/// The parameters that have a value, decoded, with replacements for what is not UTF-8.
fn given(uri: &Uri) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.filter(|(_, value)| !value.trim().is_empty())
}

/// The parameters of a query string, decoded. One without a value, as forms send it, counts as absent.
pub(crate) struct QueryParameters<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Those that the endpoint asked for.
    known: Vec<&'static str>,
    invalid: Vec<InvalidField>,
}

impl<'a> QueryParameters<'a> {
    /// # Errors
    ///
    /// Bytes that are not UTF-8: decoded with replacements they would be another text than the client meant.
    pub(super) fn of(uri: &'a Uri) -> Result<Self, ApiError> {
        let query = uri.query().unwrap_or_default();
        let is_text = |part: &str| percent_decode_str(part).decode_utf8().is_ok();
        if let Some(part) = query.split('&').find(|part| !is_text(part)) {
            let name = part.split('=').next().filter(|name| is_text(name)).unwrap_or_default();
            return Err(ApiError::bad_request(format!("Parameter \"{name}\" is not UTF-8.")));
        }
        Ok(Self { pairs: given(uri).collect(), known: vec!["apiKey"], invalid: Vec::new() })
    }

    /// `None` if it is absent or invalid: its value breaks a rule of its type, or there are two, and the client may have
    /// meant either.
    pub(crate) fn get<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        match self.text(name)?.parse() {
            Ok(value) => Some(value),
            Err(rule) => {
                self.reject(InvalidField::in_query(name, rule));
                None
            }
        }
    }

    /// As [`get`](Self::get) for one that must be there.
    pub(crate) fn required<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        let value = self.get(name);
        if value.is_none() && !self.is_invalid(name) {
            self.reject(InvalidField::in_query(name, "is required"));
        }
        value
    }

    /// The parameter `identityId`. A text that has not the format is an unknown identity, not invalid input.
    pub(crate) fn identity(&mut self) -> Result<Option<IdentityId>, ApiError> {
        let identity = self.text("identityId").map(|text| IdentityId::parse(&text)).transpose();
        identity.map_err(|_| ErrorCode::UserMustBeAuthorized.into())
    }

    pub(crate) fn reject(&mut self, parameter: InvalidField) {
        self.invalid.push(parameter);
    }

    pub(crate) fn is_invalid(&self, name: &str) -> bool {
        self.invalid.iter().any(|parameter| parameter.is_parameter(name))
    }

    /// Those that the endpoint did not ask for.
    pub(super) fn unknown(&self) -> Vec<InvalidField> {
        let known = self.known.join(", ");
        let mut unknown: Vec<_> = self.pairs.iter().map(|(name, _)| &**name).collect();
        unknown.retain(|name| !self.known.contains(name));
        unknown.dedup();
        unknown.truncate(MAX_INVALID_FIELDS);
        let rule = format!("is unknown; there are {known}");
        unknown.iter().map(|name| InvalidField::in_query(name, &rule)).collect()
    }

    fn text(&mut self, name: &'static str) -> Option<Cow<'a, str>> {
        self.known.push(name);
        let mut values = self.pairs.iter().filter(|(other, _)| other == name).map(|(_, value)| value);
        let value = values.next().cloned();
        if values.next().is_some() {
            self.reject(InvalidField::in_query(name, "must not be given more than once"));
            return None;
        }
        value
    }
}
