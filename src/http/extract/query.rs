//! Query strings: parameters parsed by their types, and every refusal explained.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use axum::http::Uri;

use crate::domain::IdentityId;
use crate::error::{ApiError, ErrorCode};

/// What an endpoint takes from the query.
pub(crate) trait Query: Sized {
    /// Unknown parameters are ignored, as unknown fields of a body are.
    fn parse(parameters: &Parameters<'_>) -> Result<Self, ApiError>;
}

/// The parameters of a query string, decoded. One without a value, as forms send it, is not there.
pub(crate) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    pub(crate) fn of(uri: &'a Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        Self(pairs.filter(|(_, value)| !value.trim().is_empty()).collect())
    }

    /// The value of a parameter. Given twice, it is refused: whoever sent it may have meant either.
    pub(crate) fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let parse = |text: &str| text.parse().map_err(|rule| Self::invalid(name, rule));
        self.text(name)?.map(parse).transpose()
    }

    /// The refusal of a parameter that breaks this rule.
    pub(crate) fn invalid(name: &str, rule: impl Display) -> ApiError {
        ApiError::invalid(name, format!("Parameter \"{name}\" {rule}."))
    }

    /// The parameter `identityId`. What has not its format is nobody's identity.
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
