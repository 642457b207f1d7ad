//! The scope that a call needs, by its endpoint and its parameters (contract §3).

use serde::Serialize;

use crate::domain::Scope;

/// A scope that an endpoint needs, always or with a certain parameter.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct RequiredScope {
    pub(crate) scope: Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameter: Option<&'static str>,
    /// Whether publishable keys may make the call: whatever it answers is public.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) publishable: bool,
}

impl RequiredScope {
    pub(crate) const fn always(scope: Scope) -> Self {
        Self { scope, parameter: None, publishable: false }
    }

    pub(crate) const fn with(parameter: &'static str, scope: Scope) -> Self {
        Self { scope, parameter: Some(parameter), publishable: false }
    }

    pub(crate) const fn or_publishable(self) -> Self {
        Self { publishable: true, ..self }
    }
}

/// The input of an endpoint, which says what a key must be allowed to.
pub(crate) trait RequiresScope {
    const SCOPES: &'static [RequiredScope];

    /// The scopes of which a call needs one. The first one whose parameter is present is the only one; a call with none of the
    /// parameters is not valid, and any of the scopes lets it be told so.
    fn scopes_of_call(is_present: impl Fn(&str) -> bool) -> &'static [RequiredScope] {
        let decisive = Self::SCOPES.iter().position(|required| required.parameter.is_none_or(&is_present));
        decisive.map_or(Self::SCOPES, |position| &Self::SCOPES[position..=position])
    }
}
