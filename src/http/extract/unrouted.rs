//! Requests that reach no endpoint.

use axum::extract::Request;
use axum::http::StatusCode;

use super::authentication::{authenticate, key_outside_body};
use super::json_body::{self, MAX_BYTES};
use crate::error::ApiError;
use crate::http::state::AppState;

/// Counts the request as a call of its key: the limit is on everything that a key does, and trying keys costs an
/// abusive client as much on a path without an endpoint.
///
/// # Errors
///
/// There were too many calls of the key, or too many invalid keys from the client. Any other fault of the key is left
/// out: that there is nothing to call matters more.
pub(crate) async fn count_unrouted(app: &AppState, request: Request) -> Result<(), ApiError> {
    let (parts, body) = request.into_parts();
    let authenticated = match key_outside_body(&parts) {
        Some(key) => {
            let authenticated = authenticate(app, &parts, Some(&key)).await;
            json_body::discard(&parts, body).await;
            authenticated
        }
        None => {
            let bytes = json_body::read(app, &parts, body, MAX_BYTES).await.unwrap_or_default();
            let Ok(Some(key)) = json_body::api_key(&bytes) else { return Ok(()) };
            authenticate(app, &parts, Some(&key)).await
        }
    };
    match authenticated {
        Err(error) if error.status() == StatusCode::TOO_MANY_REQUESTS => Err(error),
        _ => Ok(()),
    }
}
