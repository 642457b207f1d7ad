//! Answers to requests that reach no endpoint, or whose endpoint broke.

use std::any::Any;

use axum::http::Uri;
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ErrorCode};

/// No route.
pub(super) async fn not_found(uri: Uri) -> ApiError {
    ApiError::not_found(format!("Path {}", uri.path()))
}

/// A route, but not for this method; the router adds `Allow`.
pub(super) async fn method_not_allowed() -> ApiError {
    ErrorCode::MethodNotAllowed.into()
}

/// A defect. The panic hook has logged where it happened; its message may hold anything and stays unsaid.
pub(super) fn panicked(_message: Box<dyn Any + Send>) -> Response {
    ApiError::from(ErrorCode::InternalError).into_response()
}
