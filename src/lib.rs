//! A self-hosted HTTP server for the customer relation of BizKitHub's API.
//!
//! A request passes [`server`] → [`http`] → [`domain`] → [`group_commit`] → [`db`]. [`app`] starts and stops them. No module imports
//! one above it; `.ci/check-house` has the order and checks it.

// Only here: in the tests' crates all is unreachable.
#![warn(unreachable_pub)]

pub mod api_keys;
pub mod app;
pub mod change_renumbering;
pub mod change_watcher;
pub mod cli;
mod client;
pub mod config;
pub mod db;
pub mod demo;
pub mod domain;
pub mod error;
mod fair_budget;
pub mod group_commit;
pub mod http;
pub mod import;
mod list_batches;
pub mod maintenance;
pub mod metrics;
mod rate_limit;
pub mod read_replica;
pub mod server;
mod server_timing;
mod telemetry;
