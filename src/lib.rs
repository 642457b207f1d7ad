//! A self-hosted HTTP server for the customer relation of BizKitHub's API.
//!
//! A request goes [`server`] → [`http`] → [`domain`] → [`group_commit`] → [`db`]; none of these imports one before it,
//! except that `http` reads the peer that `server` attaches to a request. [`app`] starts and stops all of them.

pub mod api_keys;
pub mod app;
pub mod cli;
pub mod config;
pub mod db;
pub mod demo;
pub mod domain;
pub mod error;
pub mod group_commit;
pub mod http;
pub mod import;
pub mod metrics;
pub mod private_postgres;
mod rate_limit;
pub mod server;
mod telemetry;
