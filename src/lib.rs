//! The map of the house. A request goes [`http`] → [`domain`] → [`matching`] → [`db`]; none of these knows of one before
//! it.

pub mod api_keys;
pub mod cli;
pub mod config;
pub mod db;
pub mod demo;
pub mod domain;
pub mod error;
pub mod http;
pub mod import;
pub mod matching;
pub mod metrics;
pub mod private_postgres;
mod rate_limit;
mod telemetry;
