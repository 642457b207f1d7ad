//! Layers around the routes.

pub(crate) mod access_log;
pub(crate) mod cors;
pub(crate) mod request_timeout;
pub(crate) mod security_headers;
