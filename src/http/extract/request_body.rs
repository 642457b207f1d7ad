//! The fields of a JSON body: parsed by their types, and everything that is wrong with them said at once.

use std::collections::HashSet;
use std::fmt;
use std::fmt::Display;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::error::{ApiError, InvalidField};

/// An error names at most as many fields: a client may send thousands that are unknown.
pub(super) const MAX_INVALID_FIELDS: usize = 64;

/// The body of an endpoint. Its fields are optional to serde, so that each can be read without the others.
pub(crate) trait RequestBody: DeserializeOwned + ToSchema {
    /// The body with all that the endpoint requires.
    type Valid;

    /// Adds what is required and missing to the fields that are invalid already. `None` if anything is.
    fn check(self, invalid: &mut Vec<InvalidField>) -> Option<Self::Valid>;
}

/// A required field, for [`RequestBody::check`]. One that is invalid is not missing.
pub(crate) fn required<T>(name: &str, value: Option<T>, invalid: &mut Vec<InvalidField>) -> Option<T> {
    if value.is_none() && !is_invalid(name, invalid) {
        invalid.push(InvalidField::missing(name));
    }
    value
}

pub(crate) fn is_invalid(name: &str, invalid: &[InvalidField]) -> bool {
    invalid.iter().any(|field| field.is_member(name))
}

/// `strict`: unknown fields are invalid, but for the one that was read `beside` the body's own. `invalid`: what is invalid already.
pub(crate) fn parse<B: RequestBody>(
    bytes: &[u8],
    strict: bool,
    beside: &str,
    mut invalid: Vec<InvalidField>,
) -> Result<B::Valid, ApiError> {
    let text = object(bytes)?;
    let body = match serde_json::from_str::<B>(text) {
        Ok(body) if !strict => body,
        _ => read_each::<B>(text, strict, beside, &mut invalid)?,
    };
    match body.check(&mut invalid) {
        Some(valid) if invalid.is_empty() => Ok(valid),
        _ => Err(invalid.into()),
    }
}

/// The text of a body that may be an object: serde reads a struct from an array too.
pub(crate) fn object(bytes: &[u8]) -> Result<&str, ApiError> {
    let text = text(bytes)?;
    if text.trim_ascii_start().starts_with('{') {
        Ok(text)
    } else {
        well_formed(text)?;
        Err(ApiError::invalid("", "The body must be a JSON object."))
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ApiError::not_json("The body is not UTF-8."))?;
    // Some editors and Windows' libraries write one; RFC 8259, 8.1 lets it be ignored.
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Reads each field by itself, and the body of those that are valid. This takes longer than reading all at once, so it
/// is done after an error, which serde ends at.
fn read_each<B: RequestBody>(
    text: &str,
    strict: bool,
    beside: &str,
    invalid: &mut Vec<InvalidField>,
) -> Result<B, ApiError> {
    well_formed(text)?;
    let Members(members) = serde_json::from_str(text)
        .map_err(|error| ApiError::invalid("", format!("The body {}.", rule(&error))))?;
    let known = known_fields::<B>();
    let mut seen = HashSet::new();
    let mut valid = Vec::new();
    for (name, value) in &members {
        let broken = if !known.contains(name) {
            (strict && name != beside).then(|| format!("is unknown; there are {}", known.join(", ")))
        } else if !seen.insert(name) {
            Some("is given twice".into())
        } else {
            let member = format!("\"{name}\":{value}");
            let broken = serde_json::from_str::<B>(&format!("{{{member}}}")).err();
            if broken.is_none() {
                valid.push(member);
            }
            broken.map(|error| rule(&error))
        };
        if let Some(rule) = broken
            && invalid.len() < MAX_INVALID_FIELDS
        {
            invalid.push(InvalidField::in_body(name, rule));
        }
    }
    serde_json::from_str(&format!("{{{}}}", valid.join(",")))
        .map_err(|error| ApiError::invalid("", format!("The body {}.", rule(&error))))
}

/// Those that the OpenAPI document describes.
fn known_fields<B: ToSchema>() -> Vec<String> {
    match B::schema() {
        RefOr::T(Schema::Object(object)) => object.properties.into_keys().collect(),
        _ => Vec::new(),
    }
}

/// What follows the name of the field.
fn rule(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let rule = message.rsplit_once(" at line ").map_or(message.as_str(), |(rule, _)| rule);
    if rule.starts_with("must") {
        rule.into()
    } else if rule.starts_with("invalid type") {
        "must be a string".into()
    } else {
        format!("is not valid: {rule}")
    }
}

pub(super) fn well_formed(text: &str) -> Result<(), ApiError> {
    serde_json::from_str::<IgnoredAny>(text).map(|_| ()).map_err(not_json)
}

pub(super) fn not_json(error: impl Display) -> ApiError {
    ApiError::not_json(format!("The body is not valid JSON: {error}."))
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

/// For optional fields that may be cleared: null and a blank text do, which is `Some(None)`. With `#[serde(default)]` an absent field
/// is `None`.
pub(crate) fn blank_clears<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    blank_is_absent(deserializer).map(Some)
}

/// For optional fields that may be absent and not null.
pub(crate) fn not_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// The members of an object in their order, also those of one name, with values as they are written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
