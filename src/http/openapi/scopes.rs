//! Which scope an operation needs: in its description for people, as `security` for programs, and as
//! `x-required-scopes` of the response that says one is missing, which also names the parameters.

use serde_json::json;
use utoipa::openapi::{RefOr, Response, SecurityRequirement, extensions::Extensions, path::Operation};

use super::SECURITY_SCHEMES;
use crate::domain::Scope;
use crate::http::required_scope::RequiredScope;

const EXTENSION: &str = "x-required-scopes";
/// The status of the error that names the missing scope.
const FORBIDDEN: &str = "403";

/// Responses are described where the type of the input is known. Not an extension of the operation: it has one already, and
/// `utoipa` writes several in any order.
pub(super) fn note(status: &str, response: &mut Response, scopes: &[RequiredScope]) {
    if status == FORBIDDEN && !scopes.is_empty() {
        response.extensions = Some(Extensions::from_iter([(EXTENSION, json!(scopes))]));
    }
}

/// Describes the scopes that were [noted](note).
pub(super) fn add_to(operation: &mut Operation) {
    let Some(RefOr::T(response)) = operation.responses.responses.get_mut(FORBIDDEN) else { return };
    let Some(noted) = &response.extensions else { return };
    let scopes = noted[EXTENSION].as_array().cloned().unwrap_or_default();
    let texts = scopes.iter().map(|required| {
        let scope = required["scope"].as_str().unwrap_or_default();
        let parameter = required["parameter"].as_str();
        parameter.map_or_else(|| format!("`{scope}`"), |parameter| format!("`{scope}` with `{parameter}`"))
    });
    let is_public = scopes.iter().any(|required| required["publishable"] == true);
    let publishable = if is_public { " A publishable key may make this call." } else { "" };
    let sentence = format!("A key with scopes needs {}.{publishable}", texts.collect::<Vec<_>>().join(", "));
    let description = operation.description.take().unwrap_or_default();
    operation.description = Some(format!("{description}\n\n{sentence}").trim_start().into());
    let allowed = |scope: &Scope| scopes.iter().any(|required| required["scope"] == scope.as_str());
    let alternatives = Scope::ALL.into_iter().filter(allowed);
    let requirements = alternatives
        .flat_map(|scope| SECURITY_SCHEMES.map(|scheme| SecurityRequirement::new(scheme, [scope.as_str()])));
    operation.security = Some(requirements.collect());
}
