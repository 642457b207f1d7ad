//! How much of Postgres one server takes.

use clap::Args;

/// Postgres allows 100 connections in all by default: three servers, with what their writers and their
/// keys have beside it, and operators.
const MAX_CONNECTIONS: u32 = 16;

/// See the fields.
#[derive(Args, Debug, Clone, Copy)]
pub struct Pool {
    /// Connections to Postgres for everything but the write path (up to 8) and the keys (2), which have their own.
    #[arg(long = "database-max-connections", value_name = "N", default_value_t = MAX_CONNECTIONS,
          env = "CUSTOMER_MATCH_DATABASE_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_connections: u32,
}
