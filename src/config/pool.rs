//! The connection pool.

use clap::Args;

/// Postgres allows 100 connections by default: enough for three servers with their writers and background tasks, and for
/// operators. One organisation gets half of them at most, so fewer than four are hardly useful.
const MAX_CONNECTIONS: u32 = 16;

#[derive(Args, Debug, Clone, Copy)]
#[command(next_help_heading = "Database")]
pub struct Pool {
    /// Most database connections of the pool, of which one organisation gets half at most; writers (up to 8), API keys (3),
    /// readiness (1), maintenance (1) and calls that wait for changes (1, for all of them) have further ones
    #[arg(long = "database-max-connections", value_name = "N", default_value_t = MAX_CONNECTIONS,
          env = "CUSTOMER_MATCH_DATABASE_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_connections: u32,
}
