//! What an endpoint takes from a request: the authenticated caller first, then the input.
//!
//! [`ApiJson`], [`ApiLines`] and [`ApiQuery`] check the API key before anything is said about the input ([`authentication`], contract
//! §3). axum's own extractors are not used, as they reject in a shape that is not the contract's.

mod api_json;
mod api_lines;
mod api_query;
mod authentication;
mod body_lines;
mod json_body;
mod prefer;
mod request_body;
mod unrouted;

pub(crate) use api_json::ApiJson;
pub(crate) use api_lines::{ApiLines, Lines, NDJSON};
pub(crate) use api_query::{ApiQuery, ParseQuery, QueryParameters};
pub(crate) use authentication::{AuthenticatedCaller, OngoingKey, ValidApiKey};
pub(crate) use body_lines::Line;
pub(crate) use prefer::Prefer;
pub(crate) use request_body::{
    RequestBody, blank_clears, blank_is_absent, is_invalid, not_null, object, parse, required,
};
pub(crate) use unrouted::count_unrouted;
