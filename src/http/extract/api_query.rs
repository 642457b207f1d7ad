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
use crate::domain::IdentityId;
use crate::error::{ApiError, ErrorCode};
use crate::http::openapi::ErrorExamples;
use crate::http::state::AppState;

pub(crate) struct ApiQuery<Q> {
    pub(crate) caller: AuthenticatedCaller,
    pub(crate) query: Q,
}

/// The parameters of an endpoint.
pub(crate) trait ParseQuery: Sized {
    /// Unknown parameters are ignored, as unknown fields of a body are.
    fn parse(parameters: &QueryParameters<'_>) -> Result<Self, ApiError>;
}

impl<Q: ParseQuery> FromRequestParts<Arc<AppState>> for ApiQuery<Q> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        let caller = AuthenticatedCaller::new(app, parts, key_outside_body(parts).as_deref()).await?;
        Ok(Self { caller, query: Q::parse(&QueryParameters::of(&parts.uri)?)? })
    }
}

impl<Q: ErrorExamples> ErrorExamples for ApiQuery<Q> {
    fn error_examples() -> Vec<ApiError> {
        AuthenticatedCaller::error_examples().into_iter().chain(Q::error_examples()).collect()
    }
}

/// The parameters of a query string, decoded. One without a value, as forms send it, counts as absent.
pub(crate) struct QueryParameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> QueryParameters<'a> {
    /// # Errors
    ///
    /// Bytes that are not UTF-8: decoded with replacements they would be another text than the client meant.
    fn of(uri: &'a Uri) -> Result<Self, ApiError> {
        let query = uri.query().unwrap_or_default();
        let is_text = |part: &str| percent_decode_str(part).decode_utf8().is_ok();
        if let Some(part) = query.split('&').find(|part| !is_text(part)) {
            let name = part.split('=').next().filter(|name| is_text(name)).unwrap_or_default();
            return Err(ApiError::bad_request(format!("Parameter \"{name}\" is not UTF-8.")));
        }
        let pairs = form_urlencoded::parse(query.as_bytes());
        Ok(Self(pairs.filter(|(_, value)| !value.trim().is_empty()).collect()))
    }

    /// # Errors
    ///
    /// The value breaks a rule of its type, or there are two: the client may have meant either.
    pub(crate) fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let parse = |text: &str| text.parse().map_err(|rule| Self::invalid(name, rule));
        self.text(name)?.map(parse).transpose()
    }

    pub(crate) fn invalid(name: &str, rule: impl Display) -> ApiError {
        ApiError::invalid(name, format!("Parameter \"{name}\" {rule}."))
    }

    /// The parameter `identityId`. A text that has not the format is an unknown identity, not invalid input.
    pub(crate) fn identity(&self) -> Result<Option<IdentityId>, ApiError> {
        let identity = self.text("identityId")?.map(IdentityId::parse).transpose();
        identity.map_err(|_| ErrorCode::UserMustBeAuthorized.into())
    }

    fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| &**value);
        let value = values.next();
        if values.next().is_some() {
            return Err(Self::invalid(name, "must not be given more than once"));
        }
        Ok(value)
    }
}
