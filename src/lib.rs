//! The map of the house. A request goes [`http`] → [`domain`] → [`group_commit`] → [`db`]; none of these knows of one before
//! it.

pub mod cli;
pub mod config;
pub mod db;
pub mod demo;
pub mod domain;
pub mod error;
pub mod group_commit;
pub mod http;
pub mod import;
pub mod keys;
pub mod log;
pub mod metrics;
pub mod private_postgres;
pub mod rate_limit;
