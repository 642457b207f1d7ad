//! The header `Prefer`, with which a client chooses between forms of an answer (RFC 7240).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::http::headers::PREFER;

/// The preferences that this server knows. Others and malformed ones are ignored, as the RFC says, also with
/// `handling=strict`: those are for another server on the way.
pub(crate) struct Prefer {
    /// `return=representation`: the answer shows what has been written.
    pub(crate) representation: bool,
    /// `handling=strict`: unknown fields and parameters are invalid.
    pub(crate) strict: bool,
}

impl Prefer {
    /// The value of `Preference-Applied` for [`Prefer::representation`].
    pub(crate) const REPRESENTATION: HeaderValue = HeaderValue::from_static("return=representation");

    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let prefers =
            |name, wanted| first(headers, name).is_some_and(|value| value.eq_ignore_ascii_case(wanted));
        Self { representation: prefers("return", "representation"), strict: prefers("handling", "strict") }
    }
}

impl<S: Sync> FromRequestParts<S> for Prefer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

impl PartialSchema for Prefer {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).examples(["return=representation"]).into()
    }
}

impl ToSchema for Prefer {}

/// The value of the first preference of this name; later ones are ignored.
fn first<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let lists = headers.get_all(PREFER).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| split(list, b',')).find_map(|preference| {
        // Parameters after a semicolon refine a preference; the known ones have none.
        let (name, value) = split(preference, b';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"'))
    })
}

/// The parts of a header's value between separators that are not quoted.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        !quoted && c == char::from(separator)
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain(&["return=representation"], Some("representation"))]
    #[case::any_case(&["RETURN=representation"], Some("representation"))]
    #[case::white_space(&[" return = representation "], Some("representation"))]
    #[case::quoted(&[r#"return="representation""#], Some("representation"))]
    #[case::parameters(&["return=representation; a=b;c"], Some("representation"))]
    #[case::in_a_list(&["respond-async, wait=10, return=representation"], Some("representation"))]
    #[case::in_another_header(&["respond-async", "return=representation"], Some("representation"))]
    #[case::the_first_counts(&["return=minimal, return=representation"], Some("minimal"))]
    #[case::inside_quotes(&[r#"x="a, return=representation""#], None)]
    #[case::inside_escaped_quotes(&[r#"x="\", return=representation""#], None)]
    #[case::inside_a_parameter(&["x=y; return=representation"], None)]
    #[case::no_value(&["return"], None)]
    #[case::another(&["returns=representation"], None)]
    #[case::beside_another(&["handling=strict, return=representation"], Some("representation"))]
    #[case::nothing(&[], None)]
    fn reads(#[case] headers: &[&'static str], #[case] expected: Option<&str>) {
        let headers: HeaderMap =
            headers.iter().map(|value| (PREFER, HeaderValue::from_static(value))).collect();
        assert_eq!(first(&headers, "return"), expected);
    }
}
