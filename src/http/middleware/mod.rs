//! Layers around the routes.

pub(super) mod access_log;
pub(super) mod cors;
pub(super) mod request_timeout;
pub(super) mod security_headers;
