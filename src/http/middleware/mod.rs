//! Layers around the routes, one a file; [`super::router`] has their order.

mod access_log;
pub(crate) mod catch_panic;
mod cors;
mod host;
mod request_timeout;
mod security_headers;
mod server_timing;
mod unsent_answers;

pub(crate) use access_log::access_log;
pub(crate) use cors::{cors, key_cors};
pub(crate) use host::check_host;
pub(crate) use request_timeout::request_timeout;
pub(crate) use security_headers::security_headers;
pub(crate) use server_timing::server_timing;
pub(crate) use unsent_answers::hold_until_sent;
