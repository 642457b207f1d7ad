//! The answer of a handler that panicked.

use std::any::Any;

use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ErrorCode};

/// The panic hook has logged where it happened. The message may hold anything, so the answer has nothing of it.
pub(crate) fn internal_error(_message: Box<dyn Any + Send>) -> Response {
    ApiError::from(ErrorCode::InternalError).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_keeps_its_message() {
        let response = internal_error(Box::new("the key PROD…"));
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "INTERNAL_ERROR");
        assert!(!body.to_string().contains("PROD"), "{body}");
    }
}
