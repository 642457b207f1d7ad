//! Answers to requests that reach no endpoint, or whose endpoint broke.

use std::any::Any;
use std::convert::identity;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ErrorCode};
use crate::http::extract::count;
use crate::http::state::AppState;
use crate::http::unreadable;

/// No route, or nothing that could be read. The path is not repeated: with a `&` in the place of the `?` it holds a key.
pub(crate) async fn not_found(State(app): State<Arc<AppState>>, request: Request) -> ApiError {
    if let Some(refusal) = unreadable::refusal(&request) {
        return refusal;
    }
    let there_is_none = |()| ApiError::not_found("The requested path");
    count(&app, request).await.map_or_else(identity, there_is_none)
}

/// A route, but not for this method; the router adds `Allow`.
pub(crate) async fn method_not_allowed(State(app): State<Arc<AppState>>, request: Request) -> ApiError {
    count(&app, request).await.map_or_else(identity, |()| ErrorCode::MethodNotAllowed.into())
}

/// A defect. The panic hook has logged where it happened; its message may hold anything and stays unsaid.
pub(crate) fn panicked(_message: Box<dyn Any + Send>) -> Response {
    ApiError::from(ErrorCode::InternalError).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_keeps_its_message() {
        let response = panicked(Box::new("the key PROD…"));
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "INTERNAL_ERROR");
        assert!(!body.to_string().contains("PROD"), "{body}");
    }
}
