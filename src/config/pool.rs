//! The connection pool.

use clap::Args;

/// Postgres allows 100 connections by default: enough for three servers with their writers and refreshers, and for
/// operators.
const MAX_CONNECTIONS: u32 = 16;

#[derive(Args, Debug, Clone, Copy)]
pub struct Pool {
    /// Most database connections of the pool; writers (up to 8) and API keys (2) have further ones
    #[arg(long = "database-max-connections", value_name = "N", default_value_t = MAX_CONNECTIONS,
          env = "CUSTOMER_MATCH_DATABASE_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_connections: u32,
}
