//! Requests that reach no endpoint.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::VARY;
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ErrorCode};
use crate::http::accept::prefers_html;
use crate::http::extract::count_unrouted;
use crate::http::pages;
use crate::http::state::AppState;

/// A browser gets a page. The path is not repeated: with `&` for `?` it would hold a key.
pub(crate) async fn not_found(State(app): State<Arc<AppState>>, request: Request) -> Response {
    let html = prefers_html(request.headers());
    let response = match count_unrouted(&app, request).await {
        Err(error) => error.into_response(),
        Ok(()) => {
            let error = ApiError::not_found("The requested path");
            if html { pages::not_found(error) } else { error.into_response() }
        }
    };
    ([(VARY, "Accept")], response).into_response()
}

/// The router adds the header `Allow`.
pub(crate) async fn method_not_allowed(State(app): State<Arc<AppState>>, request: Request) -> ApiError {
    match count_unrouted(&app, request).await {
        Err(error) => error,
        Ok(()) => ErrorCode::MethodNotAllowed.into(),
    }
}
