//! Requests that reach no endpoint.

use std::convert::identity;
use std::sync::Arc;

use axum::extract::{Request, State};

use crate::error::{ApiError, ErrorCode};
use crate::http::extract::count_unrouted;
use crate::http::state::AppState;

/// The path is not repeated in the error: with `&` for `?` it would hold a key.
pub(crate) async fn not_found(State(app): State<Arc<AppState>>, request: Request) -> ApiError {
    let error = |()| ApiError::not_found("The requested path");
    count_unrouted(&app, request).await.map_or_else(identity, error)
}

/// The router adds the header `Allow`.
pub(crate) async fn method_not_allowed(State(app): State<Arc<AppState>>, request: Request) -> ApiError {
    let error = |()| ErrorCode::MethodNotAllowed.into();
    count_unrouted(&app, request).await.map_or_else(identity, error)
}
