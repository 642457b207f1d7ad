//! The server as its users see it: the real router and the real binary, on a real Postgres.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod api_key;
mod command_line;
mod config;
mod connections;
mod customer_create;
mod customer_delete;
mod customer_detail;
mod customer_import;
mod customer_merge;
mod examples;
mod guessing;
mod health;
mod identity;
mod input;
mod key_changes;
mod log;
mod match_import;
mod matched_customer_list;
mod matching;
mod metrics;
mod openapi;
mod pages;
mod ping;
mod races;
mod rate_limit;
mod representation;
mod schema;
mod search;
mod shared_limit;
mod support;
mod tenants;
mod terminal;
mod unmatching;
mod write_path;
