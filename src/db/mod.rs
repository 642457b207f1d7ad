//! Postgres: how to connect, the migrations, and one file per table with the statements about it.
//!
//! Statements keep the rules that let the tables be distributed by `organisation_id`: every reference to a tenant's table
//! has `organisation_id = $n` with one scalar parameter, and nothing joins across organisations.

pub mod api_key;
pub mod api_key_quota_lease;
pub mod change_origin;
pub(crate) mod connect;
mod connections;
pub mod cursor_key;
pub mod customer;
pub mod customer_delete;
pub mod customer_erase;
pub mod customer_identity;
pub mod customer_import;
pub mod customer_list;
pub mod customer_match;
pub mod customer_match_import;
pub mod customer_merge;
pub mod distribution;
pub mod dry_run;
pub mod durability;
mod error;
pub mod export;
mod layout;
pub mod matched_customer;
pub mod migration;
pub mod organisation;
mod page_end;
pub mod placement;
mod pool;
pub(crate) mod prerequisites;
mod readiness;
pub mod relation_change;
pub mod replication;
pub mod retry;
mod schema_change;
pub mod statistics;
mod transaction;
pub mod write_batch;

pub(crate) use connections::{Connections, bounded, concurrent_batches};
pub(crate) use error::{is_about_one_row, is_invalid_value, is_lock_timeout, message};
pub use error::{is_transient, is_unavailable, violates};
pub use layout::Layout;
pub use pool::{RequestPool, pool};
pub(crate) use pool::{STATEMENT_TIMEOUT, USE_TIMEOUT};
pub use readiness::{DatabaseState, Readiness, ReplicationRole};
pub(crate) use transaction::{allow_long_statements, dedicated};

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

/// For connections outside the pool (see [`connect`]).
pub fn connect_options(pool: &PgPool) -> PgConnectOptions {
    PgConnectOptions::clone(&pool.connect_options())
}
